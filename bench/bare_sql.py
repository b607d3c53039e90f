"""The product's own statements without HTTP, broker and agent: what is left when the machinery costs nothing.

``python -m bench.bare_sql``: reads one JSON line, prints `ready`, waits for a line, works, prints one JSON line with its times.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from core.database import journey_work, set_pool_size, unit_of_work
from core.ids import new_handle, new_id
from core.logging import configure_logging
from models import JourneyKind, StepName
from queries import agents as agent_queries
from queries import effects, events, intake
from queries import steps as step_queries
from queries.agents import CallBegun, CallEnded
from queries.effects import Welcome
from services import automation, journey_plan

WORKER = "bench"
TEXT = "您好，欢迎来到安美！我是您的专属顾问，已经看到您对皮肤护理感兴趣，随时可以问我。"


def registration_row(prefix: str, number: int) -> dict[str, Any]:
    """Return one row as services.intake hands it to the intake's statement."""
    user_id = f"{prefix}-{number}"
    return {
        "external_id": user_id,
        "webhook_id": f"msg-{user_id}",
        "username": f"客户{number}",
        "email": f"{user_id}@example.com",
        "phone": f"+86138{number % 10**8:08d}",
        "avatar": None,
        "roles": ["customer"],
        "primary_role": "customer",
        "locale": "zh-CN",
        "source": "wechat",
        "interests": ["skin", "laser"],
        "extra": {},
        "registered_at": "2026-01-01T00:00:00Z",
        "user_id": str(new_id()),
        "journey_id": str(new_id()),
        "step_ids": [str(new_id()) for _ in journey_plan.step_names()],
        "handle": new_handle(),
        "skip_reason": None,
    }


def accept(rows: list[dict[str, Any]]) -> list[UUID]:
    """Commit the registrations; return their journeys."""
    settings = automation.current()
    with journey_work() as connection:
        made = intake.insert_registrations(
            connection,
            rows,
            kind=JourneyKind.REGISTRATION,
            steps=list(journey_plan.step_names()),
            settings_version=automation.current_version(),
            greet_by_seconds=settings.welcome_deadline_ms / 1000,
            # Nobody sweeps here; the distance only has to outlast the run.
            sweep_seconds=journey_plan.SWEEP_MAX_SECONDS,
        )
    return list(made)


def open_conversations(journey_ids: Sequence[UUID]) -> None:
    settings = automation.current().conversation
    with journey_work() as connection:
        effects.open_conversations(
            connection,
            journey_ids,
            step=StepName.CREATE_CONVERSATION,
            next_step=StepName.GENERATE_WELCOME,
            title=settings.title,
            tags=settings.tags,
            owner=settings.owner,
            worker=WORKER,
            sweep_seconds=journey_plan.SWEEP_MAX_SECONDS,
        )


def claim(journey_ids: Sequence[UUID], token: UUID) -> None:
    with journey_work() as connection:
        step_queries.claim_steps(
            connection,
            StepName.GENERATE_WELCOME,
            journey_ids,
            token=token,
            worker=WORKER,
            lease_seconds=journey_plan.LEASE_SECONDS,
            handle_seconds=600.0,
        )


def begin_calls(journey_ids: Sequence[UUID], agent_id: UUID) -> list[UUID]:
    calls = [CallBegun(new_id(), journey_id, 1, agent_id, None) for journey_id in journey_ids]
    with journey_work() as connection:
        agent_queries.begin_calls(connection, calls)
    return [call.call_id for call in calls]


def store_welcomes(journey_ids: Sequence[UUID], token: UUID, call_ids: Sequence[UUID]) -> list[UUID]:
    """Store one text for each and end its call; return the messages."""
    with journey_work() as connection:
        agent_queries.end_calls(
            connection, [CallEnded(one, None, None, "task", {"total_tokens": 100}) for one in call_ids]
        )
        stored = effects.store_welcomes(
            connection,
            [Welcome(one, token, TEXT, "agent", {"written_by": "agent"}) for one in journey_ids],
            step=StepName.GENERATE_WELCOME,
            next_step=StepName.NOTIFY_CONSULTANTS,
            sweep_seconds=journey_plan.SWEEP_MAX_SECONDS,
        )
        messages = [one for one in stored.values() if one is not None]
        events.append_message_events(connection, messages)
    return messages


def notify(journey_ids: Sequence[UUID]) -> None:
    settings = automation.current().notification
    with journey_work() as connection:
        effects.notify_consultants(
            connection,
            journey_ids,
            step=StepName.NOTIFY_CONSULTANTS,
            enabled=True,
            title=settings.title,
            message=settings.message,
            push_title=settings.push_title,
            push_body=settings.push_body,
            worker=WORKER,
            sweep_seconds=journey_plan.SWEEP_MAX_SECONDS,
        )
        events.append_new_customer_events(
            connection,
            list(journey_ids),
            title=settings.title,
            message=settings.message,
            expected_response_minutes=settings.expected_response_minutes,
        )


def run(rows: list[dict[str, Any]], set_size: int) -> None:
    """Take the registrations through all their statements, so many journeys to a statement."""
    with unit_of_work() as session:
        agent_id = agent_queries.list_enabled(session)[0].id
    for some in _chunks(rows, set_size):
        journey_ids = accept(some)
        open_conversations(journey_ids)
        token = new_id()
        claim(journey_ids, token)
        store_welcomes(journey_ids, token, begin_calls(journey_ids, agent_id))
        notify(journey_ids)


def main() -> None:
    """Serve one run."""
    # Standard output belongs to whoever reads our lines.
    configure_logging("bench")
    order = json.loads(sys.stdin.readline())
    set_pool_size(1)
    rows = [registration_row(order["prefix"], number) for number in range(order["count"])]
    warm = [registration_row(f"{order['prefix']}-warm", number) for number in range(order["warm_up"])]
    run(warm, order["set_size"])
    print("ready", flush=True)
    sys.stdin.readline()
    began_at = time.time()
    run(rows, order["set_size"])
    print(json.dumps({"began_at": began_at, "ended_at": time.time()}), flush=True)


def _chunks(rows: list[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    rest = iter(rows)
    while some := list(islice(rest, size)):
        yield some


if __name__ == "__main__":
    main()
