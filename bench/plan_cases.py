"""The engine's statements as bench.plans looks at them: a handful of open journeys at each stage, and the call of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from bench.bare_sql import (
    TEXT,
    WORKER,
    accept,
    begin_calls,
    claim,
    open_conversations,
    registration_row,
    store_welcomes,
)
from core.database import unit_of_work
from core.ids import new_id
from models import JourneyKind, StepName
from queries import agents as agent_queries
from queries import effects, events, intake
from queries import notifications as notification_queries
from queries import steps as step_queries
from queries.agents import CallBegun, CallEnded
from queries.effects import Welcome
from services import journey_plan

# "A handful": what one message of a lively minute names.
OPEN = 10


@dataclass(frozen=True, slots=True)
class Stages:
    """Open journeys by what they wait for."""

    accepted: list[UUID]
    opened: list[UUID]
    claimed: list[UUID]
    welcomed: list[UUID]
    token: UUID
    calls: list[UUID]
    agent_id: UUID
    message_ids: list[UUID]


@dataclass(frozen=True, slots=True)
class Case:
    """One statement: `call` executes it in the session; it is rolled back afterwards."""

    name: str
    call: Callable[[Session], object]


def make_stages(prefix: str) -> Stages:
    """Commit OPEN journeys at each stage; what the sweep and the greeting look for is due at once."""
    with unit_of_work() as session:
        agent_id = agent_queries.list_enabled(session)[0].id
    token = new_id()
    accepted, opened, claimed, welcomed = (_accept(f"{prefix}-{stage}") for stage in range(4))
    open_conversations([*opened, *claimed, *welcomed])
    claim([*claimed, *welcomed], token)
    calls = begin_calls([*claimed, *welcomed], agent_id)
    message_ids = store_welcomes(welcomed, token, calls[OPEN:])
    with unit_of_work() as session:
        session.execute(text("UPDATE journey_steps SET sweep_at = now() - interval '1 s' WHERE sweep_at IS NOT NULL"))
        session.execute(
            text("UPDATE journeys SET greet_by_at = now() WHERE greeted_at IS NULL AND finished_at IS NULL")
        )
        session.execute(text("UPDATE journey_steps SET lease_until = now() + interval '1 h' WHERE status = 'running'"))
    return Stages(accepted, opened, claimed, welcomed, token, calls[:OPEN], agent_id, message_ids)


def cases(stages: Stages, prefix: str) -> list[Case]:
    """Return the statements in a journey's order, then those that look for work."""
    return [
        Case("accept", lambda session: _insert(session, prefix)),
        Case("accept: duplicates", lambda session: _resolve(session, prefix)),
        Case("open_conversations", lambda session: _open(session, stages.accepted)),
        Case("claim", lambda session: _claim(session, stages.opened)),
        Case("begin_calls", lambda session: _begin(session, stages)),
        Case("end_calls", lambda session: agent_queries.end_calls(session, _ended(stages))),
        Case("store_welcomes", lambda session: _store(session, stages)),
        Case("append_message_events", lambda session: events.append_message_events(session, stages.message_ids)),
        Case("greet: list_ungreeted", lambda session: effects.list_ungreeted(session, most=200)),
        Case("greet: post_templates", lambda session: _greet(session, stages.claimed)),
        Case("notify", lambda session: _notify(session, stages.welcomed)),
        Case("append_new_customer_events", lambda session: _customer_events(session, stages.welcomed)),
        Case("renew_leases", lambda session: _renew(session, stages)),
        Case(
            "sweep: steps",
            lambda session: step_queries.sweep_steps(session, most=500, first=1.0, longest=30.0, lease_seconds=9.0),
        ),
        Case(
            "sweep: notifications",
            lambda session: notification_queries.sweep_notifications(session, most=500, first=1.0, longest=30.0),
        ),
        Case("number_events", lambda session: events.number_events(session, most=500)),
    ]


def _accept(prefix: str) -> list[UUID]:
    return accept([registration_row(prefix, number) for number in range(OPEN)])


def _insert(session: Session, prefix: str) -> None:
    intake.insert_registrations(
        session,
        [registration_row(f"{prefix}-new", number) for number in range(OPEN)],
        kind=JourneyKind.REGISTRATION,
        steps=list(journey_plan.step_names()),
        settings_version=0,
        greet_by_seconds=2.75,
        sweep_seconds=1.0,
    )


def _resolve(session: Session, prefix: str) -> None:
    rows = [registration_row(f"{prefix}-0", number) for number in range(OPEN)]
    intake.resolve_duplicates(session, rows, kind=JourneyKind.REGISTRATION)


def _open(session: Session, journey_ids: Sequence[UUID]) -> None:
    effects.open_conversations(
        session,
        journey_ids,
        step=StepName.CREATE_CONVERSATION,
        next_step=StepName.GENERATE_WELCOME,
        title="新客户咨询",
        tags=["新客户"],
        owner="general_ai",
        worker=WORKER,
        sweep_seconds=1.0,
    )


def _claim(session: Session, journey_ids: Sequence[UUID]) -> None:
    step_queries.claim_steps(
        session,
        StepName.GENERATE_WELCOME,
        journey_ids,
        token=new_id(),
        worker=WORKER,
        lease_seconds=journey_plan.LEASE_SECONDS,
        handle_seconds=600.0,
    )


def _begin(session: Session, stages: Stages) -> None:
    begun = [CallBegun(new_id(), journey_id, 1, stages.agent_id, None) for journey_id in stages.claimed]
    agent_queries.begin_calls(session, begun)


def _ended(stages: Stages) -> list[CallEnded]:
    return [CallEnded(one, None, None, "task", {"total_tokens": 100}) for one in stages.calls]


def _store(session: Session, stages: Stages) -> None:
    effects.store_welcomes(
        session,
        [Welcome(one, stages.token, TEXT, "agent", {"written_by": "agent"}) for one in stages.claimed],
        step=StepName.GENERATE_WELCOME,
        next_step=StepName.NOTIFY_CONSULTANTS,
        sweep_seconds=1.0,
    )


def _greet(session: Session, journey_ids: Sequence[UUID]) -> None:
    effects.post_templates(
        session, dict.fromkeys(journey_ids, TEXT), next_step=StepName.NOTIFY_CONSULTANTS, sweep_seconds=1.0
    )


def _notify(session: Session, journey_ids: Sequence[UUID]) -> None:
    effects.notify_consultants(
        session,
        journey_ids,
        step=StepName.NOTIFY_CONSULTANTS,
        enabled=True,
        title="新客户",
        message="有新客户注册",
        push_title="新客户",
        push_body="有新客户注册",
        worker=WORKER,
        sweep_seconds=1.0,
    )


def _customer_events(session: Session, journey_ids: Sequence[UUID]) -> None:
    events.append_new_customer_events(
        session, journey_ids, title="新客户", message="有新客户注册", expected_response_minutes=5
    )


def _renew(session: Session, stages: Stages) -> None:
    step_queries.renew_leases(
        session,
        StepName.GENERATE_WELCOME,
        dict.fromkeys(stages.claimed, stages.token),
        lease_seconds=journey_plan.LEASE_SECONDS,
    )
