"""The escalation ladder: every rung on an injected clock, stopped by a claim or a reply at each, and killed half-way."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest

from core.database import unit_of_work
from core.ids import new_id
from models import Consultant, Conversation
from services import automation, conversations, delivery, escalations, timeline
from services.auth import Identity
from services.permissions import Role
from tasks import sweeping
from tests.consultants.conftest import connect, customer_waits, execute, rows, tell
from tests.consultants.receiver import Receiver
from tests.support.factories import create_consultant, create_push_channel
from tests.support.processes import OwnProcess

# A Friday, 11:00 in Shanghai; and the Saturday after.
WORKING = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
CLOSED = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
RUNGS = ["remind", "widen", "supervisor", "reassign", "reassign", "reassign"]


def who(consultant: Consultant) -> Identity:
    return Identity(consultant.user_id, consultant.display_name, frozenset({Role.CONSULTANT}), new_id(), consultant.id)


def due_now() -> list[UUID]:
    """Let time pass until the next rung is due; return what the sweep finds."""
    execute("UPDATE escalations SET due_at = now(), sweep_at = now() WHERE status = 'pending'")
    return [UUID(str(one[0])) for one in rows("SELECT id FROM escalations WHERE status = 'pending'")]


def climb(at: datetime = WORKING) -> list[UUID]:
    return escalations.escalate(due_now(), clock=lambda: at)


def ladder() -> list[tuple[object, ...]]:
    return rows("SELECT action, status FROM escalations ORDER BY round, rung")


def told_by_escalation() -> list[tuple[object, ...]]:
    return rows("SELECT data ->> 'action', recipients FROM events WHERE type = 'escalation' ORDER BY id")


@pytest.fixture
def everybody(receiver: Receiver) -> dict[str, Consultant]:
    """One online, one on shift with a telephone, one supervisor with a telephone who has the day off."""
    people = {
        "online": create_consultant(),
        "on_shift": create_consultant(),
        "supervisor": create_consultant(is_supervisor=True, working_hours={"days_off": ["2026-11-20"]}),
    }
    connect(people["online"])
    for name in ("on_shift", "supervisor"):
        create_push_channel(people[name], f"{receiver.url}/{name}")
    return people


def test_the_ladder_is_climbed_rung_by_rung(everybody: dict[str, Consultant], receiver: Receiver) -> None:
    conversation = customer_waits()
    assert [one.consultant_id for one in tell(conversation)] == [everybody["online"].id]
    assert ladder() == [("remind", "pending")]
    assert climb() == []
    assert told_by_escalation() == [("remind", [everybody["online"].id])]
    assert delivery.deliver(climb()) == 1
    assert [one.path for one in receiver.received] == ["/on_shift"]
    assert told_by_escalation()[1] == ("widen", None)
    assert delivery.deliver(climb()) == 1
    assert [one.path for one in receiver.received] == ["/on_shift", "/supervisor"]
    climb()
    holder = rows("SELECT claimed_by_id, ai_controlled FROM conversations WHERE id = :i", i=conversation.id)
    # Online comes before on shift; the AI goes on until the consultant says something.
    assert holder == [(everybody["online"].id, True)]
    assert told_by_escalation()[3] == ("reassign", [everybody["online"].id])
    delivery.deliver(climb())
    assert rows("SELECT claimed_by_id FROM conversations") == [(everybody["on_shift"].id,)]
    assert [one.path for one in receiver.received][2:] == ["/on_shift"]
    climb()
    # Both had their chance: the customer stays with the last one, and administrators hear of it.
    assert rows("SELECT claimed_by_id FROM conversations") == [(everybody["on_shift"].id,)]
    assert rows("SELECT count(*) FROM alerts WHERE key = 'escalation:reassign'") == [(1,)]
    assert ladder() == [(action, "done") for action in RUNGS]
    assert due_now() == []
    assert [row[0] for row in rows("SELECT action FROM audit_log WHERE actor = 'escalation' ORDER BY id")] == [
        f"escalation.{action}" for action in RUNGS
    ]
    assert conversation.journey_id is not None
    story = [one.text for one in timeline.timeline(conversation.journey_id) if one.kind == "escalation"]
    assert len(story) == len(RUNGS)
    assert story[3] == "the ladder's rung 4, reassign: 1 told, and one was given the customer"
    assert rows("SELECT count(*) FROM notifications GROUP BY consultant_id, channel HAVING count(*) > 1") == []


def test_nobody_on_shift_and_no_supervisor_is_said_to_administrators() -> None:
    tell(customer_waits())
    for _ in RUNGS:
        climb()
    assert {row[0] for row in rows("SELECT key FROM alerts")} == {"escalation:supervisor", "escalation:reassign"}
    assert rows("SELECT claimed_by_id FROM conversations") == [(None,)]


@pytest.mark.parametrize("climbed", range(4))
def test_a_claim_stops_the_ladder_at_every_rung(everybody: dict[str, Consultant], climbed: int) -> None:
    conversation = customer_waits()
    tell(conversation)
    for _ in range(climbed):
        climb()
    before = told_by_escalation()
    conversations.claim(conversation.id, who(everybody["on_shift"]))
    assert ladder() == [(action, "done") for action in RUNGS[:climbed]] + [(RUNGS[climbed], "stopped")]
    assert climb() == []
    assert told_by_escalation() == before
    assert rows("SELECT claimed_by_id FROM conversations") == [(everybody["on_shift"].id,)]


def test_a_claim_the_ladder_did_not_hear_of_stops_it_when_the_rung_is_due(everybody: dict[str, Consultant]) -> None:
    conversation = customer_waits()
    tell(conversation)
    execute("UPDATE conversations SET claimed_by_id = :c", c=everybody["online"].id)
    assert climb() == []
    assert ladder() == [("remind", "stopped")]
    assert told_by_escalation() == []


def test_a_reply_of_whoever_was_given_the_customer_stops_the_ladder(everybody: dict[str, Consultant]) -> None:
    conversation = customer_waits()
    tell(conversation)
    for _ in range(4):
        climb()
    conversations.say(conversation.id, who(everybody["online"]), {"type": "text", "text": "您好"})
    assert ladder()[-1] == ("reassign", "stopped")
    assert climb() == []
    assert rows("SELECT claimed_by_id, ai_controlled FROM conversations") == [(everybody["online"].id, False)]


def test_a_claim_of_whoever_was_given_the_customer_accepts_them(everybody: dict[str, Consultant]) -> None:
    conversation = customer_waits()
    tell(conversation)
    for _ in range(4):
        climb()
    accepted = conversations.claim(conversation.id, who(everybody["online"]))
    assert (accepted.claimed_by_id, accepted.ai_controlled) == (everybody["online"].id, False)
    assert ladder()[-1] == ("reassign", "stopped")
    assert climb() == []
    assert rows("SELECT claimed_by_id FROM conversations") == [(everybody["online"].id,)]
    # Once more changes nothing: not the AI either, if it was switched on again since.
    conversations.set_ai_control(conversation.id, who(everybody["online"]), enabled=True)
    assert conversations.claim(conversation.id, who(everybody["online"])).ai_controlled is True
    assert rows("SELECT count(*) FROM claims") == [(1,)]


def test_outside_working_hours_the_ladder_stands_still(everybody: dict[str, Consultant]) -> None:
    tell(customer_waits())
    assert climb(at=CLOSED) == []
    assert ladder() == [("remind", "pending")]
    assert told_by_escalation() == []
    # Until Monday 09:00 in Shanghai: 46 hours.
    assert rows("SELECT paused, round(extract(epoch FROM due_at - now()) / 3600) FROM escalations") == [(1, 46)]
    climb(at=WORKING)
    assert ladder() == [("remind", "done"), ("widen", "pending")]


def test_a_customer_given_back_waits_anew(everybody: dict[str, Consultant]) -> None:
    conversation = customer_waits()
    tell(conversation)
    identity = who(everybody["online"])
    conversations.claim(conversation.id, identity)
    conversations.say(conversation.id, identity, {"type": "text", "text": "您好"})
    conversations.release(conversation.id, identity)
    assert rows("SELECT round, rung, status FROM escalations ORDER BY round, rung") == [
        (1, 0, "stopped"),
        (2, 0, "pending"),
    ]
    climb()
    assert told_by_escalation() == [("remind", [everybody["online"].id])]


def test_switched_off_there_is_no_ladder() -> None:
    automation.change({"escalation": {"enabled": False}}, actor="test")
    tell(customer_waits())
    assert ladder() == []


def test_the_first_rung_is_due_after_its_working_time() -> None:
    automation.change({"escalation": {"working_hours_only": False}}, actor="test")
    tell(customer_waits())
    assert rows("SELECT due_at - waiting_since FROM escalations")[0][0].total_seconds() == pytest.approx(180, abs=0.1)  # type: ignore[attr-defined]


def test_a_rung_done_twice_at_once_is_done_once(everybody: dict[str, Consultant]) -> None:
    conversation = customer_waits()
    tell(conversation)
    (rung,) = due_now()
    with unit_of_work() as session:
        from queries import escalations as queries

        assert queries.lock_due(session, rung) is not None
        assert escalations.escalate([rung], clock=lambda: WORKING) == []
    escalations.escalate([rung, rung], clock=lambda: WORKING)
    assert len(told_by_escalation()) == 1
    assert ladder() == [("remind", "done"), ("widen", "pending")]


def test_the_sweep_finds_rungs_and_their_pushes(
    everybody: dict[str, Consultant], monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(customer_waits())
    found: list[UUID] = []
    monkeypatch.setattr(sweeping, "publish_escalations", found.extend)
    monkeypatch.setattr(sweeping, "publish_steps", lambda *_: True)
    expected = due_now()
    sweeping.sweep_once()
    assert found == expected
    sweeping.sweep_once()
    assert found == expected


KILLED = """
from datetime import datetime, UTC
from uuid import UUID
import sys
from services import escalations
escalations.escalate([UUID(sys.argv[1])], clock=lambda: datetime(2026, 11, 20, 3, tzinfo=UTC))
"""


@pytest.mark.parametrize(("point", "done_by_the_killed"), [("before_commit", 0), ("after_commit", 1)])
def test_a_process_killed_in_the_middle_loses_no_rung_and_does_none_twice(
    everybody: dict[str, Consultant], receiver: Receiver, point: str, done_by_the_killed: int
) -> None:
    tell(customer_waits())
    climb()
    (rung,) = due_now()
    with OwnProcess(["-c", KILLED, str(rung)], {"ANMEI_FAULTS": f"{point}=kill"}) as process:
        assert process.wait() == -9
    assert rows("SELECT count(*) FROM escalations WHERE id = :i AND status = 'done'", i=rung) == [(done_by_the_killed,)]
    escalations.escalate([rung], clock=lambda: WORKING)
    assert ladder() == [("remind", "done"), ("widen", "done"), ("supervisor", "pending")]
    assert [row[0] for row in told_by_escalation()] == ["remind", "widen"]
    # Whatever was written to be pushed is found by the sweep, also that of the killed process.
    execute("UPDATE notifications SET sweep_at = now() WHERE status = 'pending'")
    assert delivery.deliver(swept()) == 1
    assert [one.path for one in receiver.received] == ["/on_shift"]


def swept() -> Sequence[UUID]:
    from queries import notifications

    with unit_of_work() as session:
        return notifications.sweep_notifications(session, most=100, first=1, longest=30)


def test_a_push_of_a_rung_is_tried_again_like_any_other(everybody: dict[str, Consultant], receiver: Receiver) -> None:
    conversation: Conversation = customer_waits()
    tell(conversation)
    climb()
    climb()
    receiver.answers.extend([500])
    pushes = climb()
    assert delivery.deliver(pushes) == 0
    assert rows("SELECT status, attempts FROM escalation_pushes") == [("pending", 1)]
    execute("UPDATE escalation_pushes SET due_at = now()")
    assert delivery.deliver(pushes) == 1
    assert [one.answered for one in receiver.at("/supervisor")] == [500, 201]
