"""Retention: texts older than the settings say are pruned, batch by batch; what figures are made of stays."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from core.clock import utc_now
from core.database import unit_of_work
from core.errors import DatabaseUnavailableError
from models import AuditEntry, Conversation, Message
from services import automation, intake, retention
from services.intake import IntakeStatus, Registration, Submission
from services.retention import RetentionSettings
from tests.personal.seeding import NAMES, OTHERS, VALUES, Seeded, found
from tests.support.factories import create_conversation, create_journey

EVERYTHING = RetentionSettings(
    mcp_payloads_days=10, agent_texts_days=10, notifications_days=10, step_inputs_days=10, messages_days=10, webhook_receipts_days=10
)  # fmt: skip
NOTHING = RetentionSettings(
    mcp_payloads_days=None, agent_texts_days=None, notifications_days=None, step_inputs_days=None
)


def finish(seeded: Seeded) -> None:
    with unit_of_work() as session:
        session.execute(text("UPDATE journeys SET finished_at = now() WHERE id = :id"), {"id": seeded.journey.id})


def test_what_is_older_than_its_days_is_pruned_and_the_rest_stays(seeded: Seeded) -> None:
    finish(seeded)
    before = found(NAMES)
    assert retention.prune(EVERYTHING) == {}
    assert found(NAMES) == before
    pruned = retention.prune(EVERYTHING, now=utc_now() + timedelta(days=11))
    assert set(pruned) == {
        "agent_texts",
        "notifications",
        "step_inputs",
        "messages",
        "mcp_payloads",
        "webhook_receipts",
    }
    # The customer is not forgotten: only an erasure does that. The other person's journey is still open.
    left = set(before) - {
        "agent_calls",
        "notifications",
        "escalation_pushes",
        "step_attempts",
        "dead_letters",
        "messages",
    }
    assert set(found(NAMES)) == left - {"journey_steps", "mcp_call_logs", "webhook_receipts"}
    assert "notifications" in found(OTHERS)


def id_made_at(at: datetime, number: int = 0) -> UUID:
    """Return an id of the shape the database makes, of that millisecond."""
    return UUID(int=(int(at.timestamp() * 1000) << 80) + number)


def say(conversation: Conversation, text_: str, at: datetime, number: int = 0) -> None:
    said = {"type": "text", "text": text_}
    message = Message(id=id_made_at(at, number), conversation_id=conversation.id, sender_type="customer", content=said, created_at=at)  # fmt: skip
    with unit_of_work() as session:
        session.add(message)


def said() -> list[str]:
    with unit_of_work() as session:
        return list(session.scalars(text("SELECT content ->> 'text' FROM messages ORDER BY id")))


def test_messages_are_pruned_by_their_own_time_and_a_live_conversation_goes_on(database: str) -> None:
    now = utc_now()
    journey = create_journey(status="succeeded", finished_at=now - timedelta(days=30))
    conversation = create_conversation(journey_id=journey.id)
    say(conversation, "welcome", now - timedelta(days=30))
    say(conversation, "last week", now - timedelta(days=7))
    say(conversation, "today", now)
    assert retention.prune(EVERYTHING) == {"messages": 1}
    assert said() == ["", "last week", "today"]
    # Years after its journey, and after the mark has passed the journey's end.
    assert retention.prune(EVERYTHING, now=now + timedelta(days=4)) == {"messages": 1}
    assert said() == ["", "", "today"]
    assert retention.prune(EVERYTHING, now=now + timedelta(days=4)) == {}
    assert retention.prune(EVERYTHING, now=now + timedelta(days=11)) == {"messages": 1}
    assert said() == ["", "", ""]


def test_messages_of_a_journey_that_never_ended_are_pruned_too(database: str) -> None:
    journey = create_journey()
    say(create_conversation(journey_id=journey.id), "long ago", utc_now() - timedelta(days=11))
    say(create_conversation(), "without a journey", utc_now() - timedelta(days=11))
    assert retention.prune(EVERYTHING) == {"messages": 2}
    assert said() == ["", ""]


def test_messages_are_pruned_in_batches_and_none_of_one_instant_is_left(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation, old = create_conversation(), utc_now() - timedelta(days=20)
    for number in range(7):
        say(conversation, "old", old + timedelta(milliseconds=number // 3), number)
    monkeypatch.setattr(retention, "BATCH", 2)
    assert retention.prune(EVERYTHING, max_seconds=0) == {}
    assert retention.prune(EVERYTHING) == {"messages": 7}
    assert said() == [""] * 7
    assert marks()["messages"] == (7, True)


def test_a_message_imported_with_an_older_id_is_not_pruned_before_its_time(database: str) -> None:
    conversation, now = create_conversation(), utc_now()
    message = Message(id=id_made_at(now - timedelta(days=20)), conversation_id=conversation.id, sender_type="customer", content={"type": "text", "text": "new"})  # fmt: skip
    with unit_of_work() as session:
        session.add(message)
    assert retention.prune(EVERYTHING) == {}
    assert said() == ["new"]


def test_a_journey_that_ends_later_is_pruned_later(seeded: Seeded) -> None:
    retention.prune(EVERYTHING, now=utc_now() + timedelta(days=11))
    assert "notifications" in found(NAMES)
    finish(seeded)
    retention.prune(EVERYTHING, now=utc_now() + timedelta(days=11))
    assert "notifications" not in found(NAMES)


def test_nothing_is_pruned_where_the_settings_say_for_ever(seeded: Seeded) -> None:
    finish(seeded)
    before = found(NAMES)
    assert retention.prune(NOTHING, now=utc_now() + timedelta(days=9000)) == {}
    assert found(NAMES) == before


def test_a_run_works_in_batches_and_the_next_goes_on(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        create_journey(status="succeeded", finished_at=utc_now() - timedelta(days=20 - number // 2))
    with unit_of_work() as session:
        session.execute(text("UPDATE journey_steps SET error_text = 'it broke' WHERE position = 1"))
    monkeypatch.setattr(retention, "BATCH", 2)
    assert retention.prune(EVERYTHING, max_seconds=0) == {}
    assert retention.prune(EVERYTHING) == {"step_inputs": 5}
    assert retention.prune(EVERYTHING) == {}
    with unit_of_work() as session:
        entries = session.query(AuditEntry).all()
    assert [(one.actor, one.action, one.after) for one in entries] == [
        ("retention", "retention.prune", {"rows": {"step_inputs": 5}})
    ]


def test_a_registration_whose_receipt_was_pruned_is_still_a_duplicate(database: str) -> None:
    registration = Registration.model_validate({"user_id": VALUES["external_id"], "username": "x"})
    first = intake.accept([Submission(registration, "wh-1")])[0]
    retention.prune(EVERYTHING, now=utc_now() + timedelta(days=11))
    again = intake.accept([Submission(registration, "wh-1")])[0]
    assert (again.status, again.journey_id) == (IntakeStatus.DUPLICATE, first.journey_id)


def test_the_settings_rule_the_pruning_of_events(seeded: Seeded) -> None:
    with unit_of_work() as session:
        session.execute(text("UPDATE events SET seq = id, created_at = now() - interval '3 days'"))
    automation.change({"retention": {"events_days": 4}}, actor="test")
    assert retention.prune_events(automation.current().retention) == 0
    automation.change({"retention": {"events_days": 2}}, actor="test")
    assert retention.prune_events(automation.current().retention) == 6


def marks() -> dict[str, tuple[int, bool]]:
    with unit_of_work() as session:
        rows = session.execute(text("SELECT kind, rows_pruned, caught_up_at IS NOT NULL AS done FROM retention_marks"))
        return {row.kind: (row.rows_pruned, row.done) for row in rows}


def test_what_was_pruned_is_counted_by_kind_over_runs(seeded: Seeded) -> None:
    finish(seeded)
    assert marks() == {}
    first = retention.prune(EVERYTHING, now=utc_now() + timedelta(days=11))
    assert marks() == {kind: (first[kind], True) for kind in retention.KINDS}
    assert retention.prune(EVERYTHING, now=utc_now() + timedelta(days=11)) == {}
    assert marks() == {kind: (first[kind], True) for kind in retention.KINDS}


def test_a_run_without_the_time_to_come_to_the_end_is_no_success(database: str) -> None:
    create_journey(status="succeeded", finished_at=utc_now() - timedelta(days=20))
    assert retention.prune(EVERYTHING, max_seconds=0) == {}
    assert marks() == {}
    assert retention.prune(EVERYTHING) == {}
    assert marks() == dict.fromkeys(retention.KINDS, (0, True))


def test_a_run_that_fails_is_no_success(seeded: Seeded, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(seeded)

    def broken(*_: object, **__: object) -> tuple[int, bool]:
        raise DatabaseUnavailableError("away")

    monkeypatch.setattr("queries.retention.prune_mcp_payloads", broken)
    with pytest.raises(DatabaseUnavailableError):
        retention.prune(EVERYTHING, now=utc_now() + timedelta(days=11))
    assert {kind for kind, (_, done) in marks().items() if done} == {
        "agent_texts",
        "notifications",
        "step_inputs",
        "messages",
    }
