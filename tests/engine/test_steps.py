"""The steps as functions over sets: once, whatever is delivered twice, at once, or half-way."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.database import unit_of_work
from core.errors import AgentPermanentError, PermanentError, TransientError
from core.ids import new_id
from models import Notification, StepName
from queries import effects
from queries import steps as step_queries
from queries.effects import Told, Welcome
from services import automation
from services.steps import failing
from services.steps.conversation import create_conversation
from services.steps.notification import notify_consultants
from services.steps.welcome import generate_welcome
from tests.engine.conftest import SimulatedAgent, accept, execute, journey_status, messages, rows, step
from tests.support.factories import create_agent, create_consultant, create_push_channel, notifications_of

CREATE, WELCOME, NOTIFY = StepName.CREATE_CONVERSATION, StepName.GENERATE_WELCOME, StepName.NOTIFY_CONSULTANTS


def nobody_listens(_: object) -> None:
    """What became ready or was told matters to other tests."""


def through(journeys: list[UUID]) -> None:
    """Take the journeys through all steps as their messages would."""
    create_conversation(journeys)
    generate_welcome(journeys, on_ready=nobody_listens)
    notify_consultants(journeys, on_told=nobody_listens)


def test_a_set_of_journeys_goes_through_all_steps(agent: SimulatedAgent) -> None:
    journeys = accept(5)
    through(journeys)
    assert {journey_status(one) for one in journeys} == {"succeeded"}
    assert [messages(one) for one in journeys] == [["agent"]] * 5
    assert rows("SELECT DISTINCT status, attempts, failures FROM journey_steps") == [("succeeded", 1, 0)]
    assert rows("SELECT step, outcome, count(*) FROM step_attempts GROUP BY 1, 2 ORDER BY 1") == [
        (CREATE, "succeeded", 5),
        (WELCOME, "succeeded", 5),
        (NOTIFY, "succeeded", 5),
    ]
    assert agent.calls() == 5
    unfinished = "SELECT count(*) FROM journeys WHERE finished_at IS NULL OR open_steps <> 0 OR greeted_by <> 'agent'"
    assert rows(unfinished) == [(0,)]


def test_every_delivery_twice_and_all_at_once_has_each_effect_once(agent: SimulatedAgent) -> None:
    journeys = accept(20)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for run in [pool.submit(through, journeys[n % 7 :]) for n in range(8)]:
                run.result()
    assert {journey_status(one) for one in journeys} == {"succeeded"}
    assert rows("SELECT count(*), count(DISTINCT journey_id) FROM conversations") == [(20, 20)]
    assert rows("SELECT count(*), count(DISTINCT journey_id) FROM messages") == [(20, 20)]
    assert rows("SELECT DISTINCT attempts FROM journey_steps") == [(1,)]
    assert agent.calls() == 20


def test_a_step_before_its_turn_is_left_alone(agent: SimulatedAgent) -> None:
    (journey,) = accept()
    assert generate_welcome([journey], on_ready=nobody_listens).done == set()
    assert notify_consultants([journey], on_told=nobody_listens).done == set()
    assert step(journey, WELCOME) == step(journey, NOTIFY) == ("pending", 0, 0, None)
    assert agent.calls() == 0


def test_the_conversation_is_made_as_the_settings_say() -> None:
    automation.change({"conversation": {"title": "你好", "tags": ["a", "b"], "owner": "skin_ai"}}, actor="test")
    (journey,) = accept()
    create_conversation([journey])
    assert rows("SELECT title, tags, owner, ai_controlled FROM conversations") == [
        ("你好", ["a", "b"], "skin_ai", True)
    ]


def test_a_fault_of_one_journey_in_a_set_is_that_journeys_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad, other = journeys = accept(3)
    real = effects.open_conversations

    def refuses_one(session: Session, journey_ids: list[UUID], **rest: object) -> dict[UUID, UUID | None]:
        if bad in journey_ids:
            session.execute(text("SELECT 1 / 0"))
        return real(session, journey_ids, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(effects, "open_conversations", refuses_one)
    outcome = create_conversation(journeys)
    assert (outcome.done, outcome.failed, outcome.waiting) == ({good, other}, {bad}, set())
    assert step(bad, CREATE) == ("failed", 1, 1, "DATABASE_REFUSED")
    assert journey_status(bad) == "failed"
    assert rows("SELECT count(*) FROM conversations") == [(2,)]
    assert rows("SELECT error_text FROM dead_letters") == [("division by zero",)]


def test_a_lease_that_ran_out_is_claimed_again_and_the_late_worker_writes_nothing(agent: SimulatedAgent) -> None:
    (journey,) = accept()
    create_conversation([journey])
    late = new_id()
    claim(journey, late)
    assert claim(journey, new_id()) == []
    execute("UPDATE journey_steps SET lease_until = now() WHERE lease_token IS NOT NULL")
    generate_welcome([journey], on_ready=nobody_listens)
    with unit_of_work() as session:
        written = effects.store_welcomes(
            session,
            [Welcome(journey, late, "late", "agent", {})],
            step=WELCOME,
            next_step=NOTIFY,
            sweep_seconds=1,
        )
    assert written == {}
    assert rows("SELECT content ->> 'text' = 'late' FROM messages") == [(False,)]
    assert rows("SELECT attempt, outcome, error_code FROM step_attempts WHERE step = :s ORDER BY 1", s=WELCOME) == [
        (1, "lost", "LEASE_EXPIRED"),
        (2, "succeeded", None),
    ]


def test_a_call_whose_worker_died_is_ended_in_the_record(agent: SimulatedAgent) -> None:
    (journey,) = accept()
    create_conversation([journey])
    claim(journey, new_id())
    execute(
        "INSERT INTO agent_calls (id, journey_id, attempt, agent_id) SELECT :i, :j, 1, id FROM agents",
        i=new_id(),
        j=journey,
    )
    execute("UPDATE journey_steps SET lease_until = now() WHERE lease_token IS NOT NULL")
    generate_welcome([journey], on_ready=nobody_listens)
    assert rows("SELECT attempt, status, error_code, finished_at IS NOT NULL FROM agent_calls ORDER BY attempt") == [
        (1, "failed", "LEASE_EXPIRED", True),
        (2, "succeeded", None, True),
    ]


def claim(journey: UUID, token: UUID) -> list[step_queries.Claim]:
    with unit_of_work() as session:
        return step_queries.claim_steps(
            session, WELCOME, [journey], token=token, worker="w", lease_seconds=30, handle_seconds=60
        )


def test_a_handle_is_valid_only_while_the_welcome_is_written(agent: SimulatedAgent) -> None:
    (journey,) = accept()
    valid = "SELECT coalesce(handle_expires_at > now(), false) FROM journeys"
    assert rows(valid) == [(False,)]
    create_conversation([journey])
    claim(journey, new_id())
    assert rows(valid) == [(True,)]
    execute("UPDATE journey_steps SET lease_until = now() WHERE lease_token IS NOT NULL")
    generate_welcome([journey], on_ready=nobody_listens)
    assert rows(valid) == [(False,)]


def test_handed_back_steps_are_due_at_once() -> None:
    (journey,) = accept()
    create_conversation([journey])
    token = new_id()
    claim(journey, token)
    with unit_of_work() as session:
        step_queries.hand_back(session, WELCOME, {journey: token})
    assert step(journey, WELCOME) == ("pending", 1, 0, None)
    assert len(claim(journey, new_id())) == 1
    assert rows("SELECT outcome, error_code FROM step_attempts WHERE attempt = 1 AND step = :s", s=WELCOME) == [
        ("lost", "HANDED_BACK")
    ]


def test_online_consultants_are_told_by_socket_and_the_others_not_at_all() -> None:
    (journey,) = accept()
    online, offline, disabled = create_consultant(), create_consultant(), create_consultant(enabled=False)
    for one in (online, disabled):
        execute(
            "INSERT INTO consultant_connections (id, consultant_id, expires_at) VALUES (:i, :c, now() + interval '1 min')",
            i=new_id(),
            c=one.id,
        )
    create_push_channel(offline, "http://127.0.0.1:9/push")
    told = notified(journey)
    assert [(one.consultant_id, one.channel) for one in told] == [(online.id, "websocket")]
    assert rows("SELECT consultant_id, channel, status, due_at FROM notifications") == [
        (online.id, "websocket", "sent", None)
    ]
    assert journey_status(journey) == "running"


def test_with_nobody_online_everybody_with_a_push_channel_is_told() -> None:
    (journey,) = accept()
    first, second, unreachable = create_consultant(), create_consultant(), create_consultant()
    for one in (first, second):
        create_push_channel(one, "http://127.0.0.1:9/push")
    told = notified(journey)
    assert {(one.consultant_id, one.channel) for one in told} == {(first.id, "push"), (second.id, "push")}
    assert rows("SELECT count(*) FROM notifications WHERE consultant_id = :c", c=unreachable.id) == [(0,)]
    assert rows("SELECT DISTINCT status, due_at IS NOT NULL, payload ->> 'body' FROM notifications") == [
        ("pending", True, "有新客户注册，请及时响应")
    ]


def test_with_notifications_switched_off_nobody_is_told_and_the_step_succeeds() -> None:
    automation.change({"notification": {"enabled": False}}, actor="test")
    (journey,) = accept()
    create_push_channel(create_consultant(), "http://127.0.0.1:9/push")
    assert notified(journey) == []
    assert step(journey, NOTIFY)[0] == "succeeded"


def notified(journey: UUID) -> list[Notification]:
    """Run the notification step; return what it wrote, which is also what it says it wrote."""
    told: list[Told] = []
    create_conversation([journey])
    execute("UPDATE journey_steps SET due_at = now() WHERE name = :n", n=NOTIFY)
    notify_consultants([journey], on_told=told.extend)
    written = notifications_of([journey])
    by_push = [one.id for one in written if one.channel == "push"]
    assert [(one.journey_id, one.count, sorted(one.pushes)) for one in told] == [
        (journey, len(written), sorted(by_push))
    ]
    return written


@pytest.mark.parametrize(
    ("failures", "delay"),
    [(0, 5), (1, 15), (2, 60), (3, None), (9, None)],
)
def test_retries_follow_the_policy_and_jitter_only_adds(failures: int, delay: float | None) -> None:
    policy = automation.RetryPolicy(jitter=0.2)
    assert failing.next_retry_seconds(policy, failures, chance=0) == delay
    if delay is not None:
        assert failing.next_retry_seconds(policy, failures, chance=0.5) == pytest.approx(delay * 1.1)


def test_the_last_delay_serves_every_further_retry() -> None:
    policy = automation.RetryPolicy(max_retries=9, delays_seconds=(1, 2))
    assert [failing.next_retry_seconds(policy, n, chance=0) for n in (0, 1, 2, 8, 9)] == [1, 2, 2, 2, None]


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (TransientError("later"), True),
        (OSError(28, "disk full"), True),
        (PermanentError("never"), False),
        (AgentPermanentError("key"), False),
    ],
)
def test_only_what_may_pass_is_retried(error: Exception, retryable: bool) -> None:
    assert failing.is_retryable(error) is retryable


def test_a_changed_policy_governs_the_very_next_failure() -> None:
    (journey,) = accept()
    automation.change({"retry": {"max_retries": 5, "delays_seconds": [100], "jitter": 0}}, actor="test")
    failing.record_failures(CREATE, {journey: TransientError("x")})
    in_seconds = "SELECT round(extract(epoch FROM due_at - now())) FROM journey_steps WHERE status = 'waiting'"
    assert rows(in_seconds) == [(100,)]
    assert create_conversation([journey]).done == set()


def test_an_agent_only_welcome_that_waits_lets_the_notification_go_on() -> None:
    automation.change({"welcome_strategy": "agent_only"}, actor="test")
    create_agent()
    (journey,) = accept()
    create_conversation([journey])
    ready: list[UUID] = []
    outcome = generate_welcome([journey], on_ready=ready.extend)
    assert (outcome.waiting, outcome.failed) == ({journey}, set())
    assert ready == [journey]
    assert notify_consultants([journey], on_told=nobody_listens).done == {journey}
    assert step(journey, WELCOME) == ("waiting", 1, 1, "AGENT_UNREACHABLE")
    assert (messages(journey), journey_status(journey)) == ([], "running")
