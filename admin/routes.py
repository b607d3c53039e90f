"""All pages of the administration, as one router."""

from fastapi import APIRouter
from fastapi.responses import Response

from admin.pages import dashboard, dead_letters, entry, journeys, settings
from admin.web import pages
from core.errors import NotFoundError

PARTS = (entry, dashboard, journeys, dead_letters, settings)

router = APIRouter()
for _part in PARTS:
    router.include_router(_part.router)

_rest = pages()


@_rest.get("/{rest:path}")
def nothing(rest: str) -> Response:
    """Answer the page that says that there is none; the last route, for what no other takes."""
    raise NotFoundError(f"nothing at {rest[:100]}")


router.include_router(_rest)
