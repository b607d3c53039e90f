"""The consultants' inbox: a page that its script fills through the REST API and keeps live through the socket."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response

from admin import drawing
from admin.inbox_texts import texts
from admin.web import INBOX, PageRoute, Visit, signed_in
from core.errors import NotAllowedError
from services import auth
from services.permissions import Permission

router = APIRouter(prefix=INBOX, route_class=PageRoute, include_in_schema=False)

Consultant = Annotated[Visit, Depends(signed_in(Permission.CLAIM_CUSTOMERS))]


@router.get("")
def inbox(visit: Consultant) -> Response:
    """Draw the frame of the page; it holds no customer's data."""
    return visit.page("inbox.html", text=texts(visit.language.code))


@router.get("/conversations/{conversation_id}")
def conversation(conversation_id: UUID, visit: Consultant) -> Response:
    """Draw the same page; its script opens the conversation that the address names."""
    return inbox(visit)


@router.get("/worker.js")
def worker() -> Response:
    """Answer the script that receives web pushes; its place is what lets it open the inbox's pages."""
    # For whoever asks: it holds nothing of anybody's, and browsers look for a newer one after the session has ended too.
    headers = {"Service-Worker-Allowed": INBOX, "Cache-Control": "no-cache"}
    found = drawing.static_files()["inbox-worker.js"]
    return Response(found.body, media_type=found.media_type, headers=headers)


@router.get("/token")
def token(visit: Consultant) -> Response:
    """Answer an access token of this browser's session, for its own script: it ends when the session does.

    The script asks for it whether or not anybody sits there, so the session lives on only by `?acted` (admin.web).
    """
    if visit.request.headers.get("sec-fetch-site") not in (None, "same-origin"):
        raise NotAllowedError("the request came from another site", code="CROSS_SITE")
    answer = {
        "access_token": auth.access_token_for(visit.who).get_secret_value(),
        "consultant_id": str(visit.who.consultant_id),
    }
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})
