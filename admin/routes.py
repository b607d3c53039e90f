"""All pages of the administration, as one router."""

from fastapi import APIRouter
from fastapi.responses import Response

from admin.pages import (
    agents,
    audit,
    consultants,
    dashboard,
    dead_letters,
    entry,
    journeys,
    mcp,
    settings,
    templates,
    users,
    webhook,
)
from admin.web import pages
from core.errors import NotFoundError

PARTS = (
    entry,
    dashboard,
    journeys,
    dead_letters,
    settings,
    templates,
    agents,
    mcp,
    consultants,
    webhook,
    users,
    audit,
)

router = APIRouter()
for _part in PARTS:
    router.include_router(_part.router)

_rest = pages()


@_rest.get("/{rest:path}")
def nothing(rest: str) -> Response:
    """Answer the page that says that there is none; the last route, for what no other takes."""
    raise NotFoundError(f"nothing at {rest[:100]}")


router.include_router(_rest)
