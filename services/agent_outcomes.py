"""What each agent version came to, and canaries taken back when they are clearly worse."""

from dataclasses import asdict
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from core import log_events
from core.database import unit_of_work
from core.logging import get_logger
from models import AgentVersion, VersionStatus
from queries import gateway as gateway_queries
from services import alerts, audit
from services.gateway.breaker import UNCOUNTED_CODES
from services.gateway.settings import CanarySettings
from services.gateway.statistics import Verdict, VersionFigures, judge_canary

log = get_logger(__name__)

ACTOR = "system"
# What a caller that gave up in time records; it says something about the deadline, not about the agent.
CANCELLED = "CANCELLED"
_UNCOUNTED = (*sorted(UNCOUNTED_CODES), CANCELLED)


def figures(session: Session, *, since: datetime) -> dict[UUID, VersionFigures]:
    """Return the figures of every version that was called since then, by version (by agent where it has none)."""
    rows = gateway_queries.list_outcomes(session, since=since, uncounted=_UNCOUNTED)
    return {row.version_id: VersionFigures(**asdict(row)) for row in rows}


def review_canaries(settings: CanarySettings) -> list[UUID]:
    """Take back the canaries that are clearly worse than their agent's active versions; return their ids.

    Each is taken back with an alert and an audit entry in one transaction, once, however many processes review at once.
    """
    with unit_of_work() as session:
        canaries = [one.id for one in gateway_queries.list_versions(session, statuses=[VersionStatus.CANARY])]
    return [version_id for version_id in canaries if _review(version_id, settings)]


def _review(version_id: UUID, settings: CanarySettings) -> bool:
    with unit_of_work() as session:
        version = gateway_queries.lock_version(session, version_id)
        if version is None or version.status != VersionStatus.CANARY:
            return False
        verdict = _judge(session, version, settings)
        if not verdict.roll_back:
            return False
        _roll_back(session, version, verdict)
    log.warning(log_events.CANARY_ROLLED_BACK, version_id=str(version_id), reasons=list(verdict.reasons))
    return True


def _judge(session: Session, version: AgentVersion, settings: CanarySettings) -> Verdict:
    """Compare over the same period: since the canary began, and no longer than the window."""
    now = gateway_queries.clock(session)
    since = max(version.status_changed_at, now - timedelta(hours=settings.window_hours))
    versions = gateway_queries.list_versions(session, statuses=[VersionStatus.ACTIVE])
    # An agent whose other calls name no version is its own baseline.
    baseline = [version.agent_id, *(one.id for one in versions if one.agent_id == version.agent_id)]
    circuit = gateway_queries.find_circuit(session, version.id)
    return judge_canary(
        _merged(session, [version.id], since),
        _merged(session, baseline, since),
        settings,
        circuit_openings=0 if circuit is None else circuit.opened_times,
    )


def _merged(session: Session, keys: list[UUID], since: datetime) -> VersionFigures:
    rows = gateway_queries.list_outcomes(session, since=since, uncounted=_UNCOUNTED, keys=keys, merged_as=keys[0])
    return VersionFigures(**asdict(rows[0])) if rows else VersionFigures(keys[0])


def _roll_back(session: Session, version: AgentVersion, verdict: Verdict) -> None:
    reason = "; ".join(verdict.reasons)
    before = {"status": version.status, "canary_percent": version.canary_percent}
    version.status = VersionStatus.ROLLED_BACK
    version.canary_percent = 0
    version.status_reason = reason
    version.status_changed_at = gateway_queries.clock(session)
    after = {"status": version.status, "canary_percent": 0, "reason": reason}
    subject = f"agent-version:{version.id}"
    audit.record(session, actor=ACTOR, action="agent_version.rolled_back", subject=subject, before=before, after=after)
    alerts.raise_alert(
        session,
        key=f"canary:{version.id}",
        title=f"Agent version {version.number} was rolled back",
        body=reason,
        severity="warning",
    )
