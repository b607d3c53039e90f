"""How long each kind of data is kept, and the pruning of what is older: in bounded batches, oldest first."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from core import log_events
from core.clock import utc_now
from core.database import unit_of_work
from core.logging import get_logger
from queries import auth, events
from queries import retention as queries
from queries.holdings import Kind
from services import audit

log = get_logger(__name__)

ACTOR = "retention"
# Journeys, or rows of a log, in one transaction: some tens of milliseconds.
BATCH = 500
# One run stops after this long and the next goes on where it stopped.
RUN_SECONDS = 20.0
MCP_PAYLOADS = "mcp_payloads"
WEBHOOK_RECEIPTS = "webhook_receipts"

Days = Annotated[int, Field(ge=1, le=36_500)] | None


class RetentionSettings(BaseModel):
    """Days each kind of data is kept after its journey finished, or after it was written; none for ever.

    What is pruned are the texts: that a call, a push or a message was made stays, with its times, for the figures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Sockets resume from them; whoever comes back later asks the REST API.
    events_days: Annotated[int, Field(ge=1, le=30)] = 7
    # What a tool was asked and answered. Whole months of the log go by the MCP server's own setting.
    mcp_payloads_days: Days = 90
    # Refused answers, errors, and the provider's ids of its messages and runs.
    agent_texts_days: Days = 90
    # What was pushed to consultants.
    notifications_days: Days = 90
    # What operators put in for a replay, steps' results and errors.
    step_inputs_days: Days = 180
    # What was said in conversations, each message counted by itself: a customer may write years after they registered.
    messages_days: Days = None
    # A registration sent again is known by its user as well.
    webhook_receipts_days: Days = None


Prune = Callable[[datetime], tuple[int, bool]]


def prune(
    settings: RetentionSettings, *, now: datetime | None = None, max_seconds: float = RUN_SECONDS
) -> dict[str, int]:
    """Prune what is older than the settings say; return how many rows by kind. Safe to run twice and at once with itself.

    Each batch is a transaction of its own, with the mark of how far it came. Audited where anything was pruned.
    """
    now, give_up_at = now or utc_now(), time.monotonic() + max_seconds
    pruned = {}
    for kind, kept in days_by_kind(settings).items():
        rows = _prune_kind(kind, now - timedelta(days=kept), give_up_at)
        if rows:
            pruned[kind] = rows
    if pruned:
        with unit_of_work() as session:
            audit.record(session, actor=ACTOR, action="retention.prune", subject="retention", after={"rows": pruned})
        log.info(log_events.RETENTION_PRUNED, **pruned)
    return pruned


def days_by_kind(settings: RetentionSettings) -> dict[str, int]:
    """Return the kinds that `prune` prunes under these settings with the days each is kept; what is kept for ever is missing."""
    days = {
        Kind.AGENT_TEXTS: settings.agent_texts_days,
        Kind.NOTIFICATIONS: settings.notifications_days,
        Kind.STEP_INPUTS: settings.step_inputs_days,
        Kind.MESSAGES: settings.messages_days,
        MCP_PAYLOADS: settings.mcp_payloads_days,
        WEBHOOK_RECEIPTS: settings.webhook_receipts_days,
    }
    return {str(kind): kept for kind, kept in days.items() if kept is not None}


def prune_events(settings: RetentionSettings) -> int:
    """Delete events that no socket resumes from any more, and sessions that ended long ago; return how many."""
    with unit_of_work() as session:
        return events.delete_old(session, days=settings.events_days) + auth.delete_old(session)


def _prune_kind(kind: str, until: datetime, give_up_at: float) -> int:
    rows, more = 0, True
    while more and time.monotonic() < give_up_at:
        done, more = _WORK[kind](until)
        rows += done
    if not more:
        # A run without the time to get here has not kept what the settings promise, and the figures must not say it has.
        with unit_of_work() as session:
            queries.note_caught_up(session, kind)
    return rows


def _of_journeys(kind: Kind) -> Prune:
    def work(until: datetime) -> tuple[int, bool]:
        with unit_of_work() as session:
            return queries.prune_journeys(session, kind, until, most=BATCH)

    return work


def _messages(until: datetime) -> tuple[int, bool]:
    with unit_of_work() as session:
        return queries.prune_messages(session, Kind.MESSAGES, until, most=BATCH)


def _mcp_payloads(until: datetime) -> tuple[int, bool]:
    with unit_of_work() as session:
        return queries.prune_mcp_payloads(session, MCP_PAYLOADS, until, most=BATCH)


def _webhook_receipts(until: datetime) -> tuple[int, bool]:
    with unit_of_work() as session:
        rows = queries.delete_receipts(session, WEBHOOK_RECEIPTS, until, most=BATCH)
    return rows, rows == BATCH


_WORK: dict[str, Prune] = {str(kind): _of_journeys(kind) for kind in Kind} | {
    Kind.MESSAGES: _messages,
    MCP_PAYLOADS: _mcp_payloads,
    WEBHOOK_RECEIPTS: _webhook_receipts,
}
# Whatever may be pruned, switched on or not.
KINDS = tuple(_WORK)
