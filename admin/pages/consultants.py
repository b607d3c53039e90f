"""Consultants: who is there."""

from typing import Annotated

from fastapi import Depends
from fastapi.responses import Response

from admin.web import Visit, pages, signed_in
from services import presence
from services.permissions import Permission

router = pages("/consultants")

Watcher = Annotated[Visit, Depends(signed_in(Permission.WATCH_CONSULTANTS))]


@router.get("")
def listed(visit: Watcher) -> Response:
    return visit.page("consultants.html", rows=presence.listed())


@router.get("/live")
def live(visit: Watcher) -> Response:
    return visit.live("consultants_live.html", rows=presence.listed())
