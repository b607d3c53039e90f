"""What orchestrators ask: is the process alive, and can it do its work."""

import asyncio
from collections.abc import Callable
from functools import lru_cache

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from clients import broker
from core.database import unit_of_work
from core.errors import AnmeiError
from core.settings import get_settings
from queries import health as health_queries
from services import figures
from services.journey_plan import Queue

router = APIRouter(tags=["operations"])

# Orchestrators give up on a probe after a second or so; hanging is the same as no.
ANSWER_SECONDS = 3.0


@router.get("/healthz", summary="Whether the process answers")
async def healthz() -> dict[str, str]:
    """Answer as long as the event loop runs; asks nobody."""
    return {"status": "ok"}


@router.get("/readyz", summary="Whether database, broker and schema are there", response_model=None)
async def readyz() -> JSONResponse:
    """Answer 200 when the process can do its work, else 503 with the reason for each part that is missing."""
    names = ("database", "broker", "migrations")
    checks = (_check_database, _check_broker, _check_migrations)
    found = await asyncio.gather(*(_checked(check) for check in checks))
    parts = {name: reason or "ok" for name, reason in zip(names, found, strict=True)}
    ready = not any(found)
    status = 200 if ready else 503
    headers = {} if ready else {"Retry-After": "2"}
    return JSONResponse({"status": "ready" if ready else "not ready", **parts}, status_code=status, headers=headers)


async def _checked(check: Callable[[], str | None]) -> str | None:
    """Return the reason why not, in time."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await asyncio.to_thread(check)
    except TimeoutError:
        return f"no answer within {ANSWER_SECONDS:g} s"


def _check_database() -> str | None:
    try:
        with unit_of_work() as session:
            health_queries.find_schema_revision(session)
    except AnmeiError as error:
        return error.message
    return None


def _check_broker() -> str | None:
    try:
        broker.queue_lengths(get_settings().require_broker_url(), [Queue.JOURNEYS])
    except AnmeiError as error:
        return error.message
    return None


def _check_migrations() -> str | None:
    try:
        with unit_of_work() as session:
            there = health_queries.find_schema_revision(session)
    except AnmeiError as error:
        return error.message
    return _schema_problem(there)


@lru_cache(maxsize=8)
def _schema_problem(there: str | None) -> str | None:
    # Loads a whole tool for what is asked once: not at every start.
    import migrations

    # Reads every migration's file, and a revision's answer does not change while this code runs.
    return migrations.schema_problem(there)


@router.get("/metrics", summary="Figures for Prometheus", response_class=Response)
def metrics(request: Request) -> Response:
    """Answer in Prometheus' text format, or in OpenMetrics where that is asked for; at most a second old."""
    page, content_type = figures.negotiated(request.headers.get("accept", ""))
    return Response(page, media_type=content_type, headers={"vary": "accept"})
