"""A customer's rating on its way to the provider: noted with it, told once, retried by its row."""

from collections.abc import Sequence
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from core.database import unit_of_work
from queries.agent_feedback import TellingEnd
from services import agent_feedback, automation
from services.steps.conversation import create_conversation
from services.steps.welcome import generate_welcome
from tasks import sweeping
from tests.engine.conftest import SimulatedAgent, accept, execute, rows


@pytest.fixture
def message(agent: SimulatedAgent) -> UUID:
    """A welcome that the simulated agent wrote."""
    journeys = accept()
    create_conversation(journeys)
    generate_welcome(journeys, on_ready=lambda _: None)
    ((message_id, source),) = rows("SELECT id, source FROM messages")
    assert source == "agent"
    return UUID(str(message_id))


def note(message_id: UUID, rating: int, comment: str | None = None) -> bool:
    with unit_of_work() as session:
        return agent_feedback.note(session, message_id, rating=rating, comment=comment)


def told(simulator_url: str) -> object:
    """Return what the provider was told of its run."""
    (run,) = httpx.get(f"{simulator_url}/__sim__/runs").json()["runs"]
    return run["feedback"]


def state() -> tuple[object, ...]:
    return rows("SELECT status, verdict, attempts, error_code, sweep_at IS NULL FROM agent_feedback")[0]


@pytest.mark.parametrize(("rating", "verdict"), [(5, "like"), (4, "like"), (2, "dislike"), (1, "dislike")])
def test_a_rating_becomes_a_thumb(message: UUID, simulator_url: str, rating: int, verdict: str) -> None:
    assert note(message, rating, "谢谢")
    assert agent_feedback.tell([message]) == 1
    assert told(simulator_url) == {"rating": verdict, "content": "谢谢"}
    assert state() == ("sent", verdict, 1, None, True)
    assert agent_feedback.tell([message]) == 0


def test_a_middling_rating_tells_nothing_and_takes_back_what_was_told(message: UUID, simulator_url: str) -> None:
    assert not note(message, 3)
    assert rows("SELECT count(*) FROM agent_feedback") == [(0,)]
    note(message, 5)
    agent_feedback.tell([message])
    assert note(message, 3)
    agent_feedback.tell([message])
    assert told(simulator_url) == {"rating": None, "content": None}


def test_a_template_has_no_provider_to_tell(agent: SimulatedAgent) -> None:
    agent.fault("http_error", status=500)
    journeys = accept()
    create_conversation(journeys)
    generate_welcome(journeys, on_ready=lambda _: None)
    ((message_id, source),) = rows("SELECT id, source FROM messages")
    assert source == "template"
    assert not note(UUID(str(message_id)), 5)


def test_a_provider_that_is_away_is_told_later(message: UUID, simulator_url: str) -> None:
    execute("UPDATE agents SET base_url = 'http://127.0.0.1:9/v1'")
    note(message, 5)
    assert agent_feedback.tell([message]) == 0
    assert state() == ("pending", "like", 1, "AGENT_UNREACHABLE", False)
    # Not due yet: another message changes nothing.
    assert agent_feedback.tell([message]) == 0
    assert state()[2] == 1
    execute("UPDATE agents SET base_url = :url", url=f"{simulator_url}/v1")
    execute("UPDATE agent_feedback SET due_at = now()")
    assert agent_feedback.tell([message]) == 1
    assert told(simulator_url) == {"rating": "like", "content": None}


def test_a_provider_that_refuses_is_not_told_again(message: UUID) -> None:
    automation.change({"retry": {"max_retries": 3}}, actor="test")
    execute("UPDATE agent_calls SET provider_message_id = 'unknown'")
    note(message, 5)
    assert agent_feedback.tell([message]) == 0
    assert state() == ("failed", "like", 1, "AGENT_NOT_FOUND", True)


def test_who_changes_their_mind_while_it_is_told_is_told_of_again(
    message: UUID, simulator_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(message, 5)
    original = agent_feedback._record

    def changing(ends: Sequence[TellingEnd], token: UUID) -> None:
        note(message, 1)
        original(ends, token)

    with monkeypatch.context() as patched:
        patched.setattr(agent_feedback, "_record", changing)
        agent_feedback.tell([message])
    assert state()[:2] == ("pending", "dislike")
    assert agent_feedback.tell([message]) == 1
    assert told(simulator_url) == {"rating": "dislike", "content": None}
    assert state()[0] == "sent"


def test_the_sweep_finds_a_rating_whose_message_was_lost(message: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[UUID] = []
    monkeypatch.setattr(sweeping, "publish_agent_feedback", sent.extend)
    monkeypatch.setattr(sweeping, "publish_steps", lambda *_: True)
    note(message, 5)
    sweeping.sweep_once()
    assert sent == []
    execute("UPDATE agent_feedback SET sweep_at = now()")
    sweeping.sweep_once()
    sweeping.sweep_once()
    assert sent == [message]


def test_a_worker_that_died_while_telling_is_followed_by_another(message: UUID, simulator_url: str) -> None:
    note(message, 5)
    with unit_of_work() as session:
        session.execute(
            text("UPDATE agent_feedback SET lease_token = anmei_uuid7(), lease_until = now() + interval '1 minute'")
        )
    assert agent_feedback.tell([message]) == 0
    execute("UPDATE agent_feedback SET lease_until = now() - interval '1 second'")
    assert agent_feedback.tell([message]) == 1
    assert told(simulator_url) == {"rating": "like", "content": None}
