"""Accepting registrations: one journey a user, for ever, whatever is sent twice or at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import ValidationError

from services import automation, intake
from services.intake import IntakeStatus, Registration, Submission
from tests.engine.conftest import execute, rows


def submission(user_id: str, webhook_id: str | None = None, **fields: object) -> Submission:
    return Submission(Registration.model_validate({"user_id": user_id, "username": "小美", **fields}), webhook_id)


def counts() -> tuple[object, ...]:
    return rows(
        "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM journeys), (SELECT count(*) FROM journey_steps)"
    )[0]


def test_a_registration_becomes_a_user_a_journey_and_three_steps_of_which_one_is_due() -> None:
    (accepted,) = intake.accept([submission("u1", "w1", email="a@example.com", interests=["skin"], vip_level=3)])
    assert accepted.status is IntakeStatus.ACCEPTED
    assert counts() == (1, 1, 3)
    assert rows("SELECT external_id, username, email, interests, extra FROM users") == [
        ("u1", "小美", "a@example.com", ["skin"], {"vip_level": 3})
    ]
    assert rows("SELECT name, position, status, due_at IS NOT NULL FROM journey_steps ORDER BY position") == [
        ("create_conversation", 1, "pending", True),
        ("generate_welcome", 2, "pending", False),
        ("notify_consultants", 3, "pending", False),
    ]
    assert rows("SELECT extract(epoch FROM greet_by_at - accepted_at)::float, open_steps FROM journeys") == [(2.6, 3)]


def test_the_same_user_again_gets_the_first_journey() -> None:
    (first,) = intake.accept([submission("u1", "w1")])
    (again,) = intake.accept([submission("u1", "w2", username="another name")])
    assert (again.status, again.journey_id) == (IntakeStatus.DUPLICATE, first.journey_id)
    assert counts() == (1, 1, 3)
    assert rows("SELECT username FROM users") == [("小美",)]


def test_the_same_webhook_id_again_gets_the_first_journey_whoever_it_names() -> None:
    (first,) = intake.accept([submission("u1", "w1")])
    intake.accept([submission("u1", "w2")])
    for webhook_id in ("w1", "w2"):
        (again,) = intake.accept([submission("somebody else", webhook_id)])
        assert (again.status, again.journey_id) == (IntakeStatus.DUPLICATE, first.journey_id)
    assert counts() == (1, 1, 3)


def test_repeats_within_one_set_follow_the_first_of_them() -> None:
    first, same_user, same_webhook, other = intake.accept(
        [submission("u1", "w1"), submission("u1", "w2", username="no"), submission("u2", "w1"), submission("u3", "w3")]
    )
    assert [one.status for one in (first, same_user, same_webhook, other)] == [
        IntakeStatus.ACCEPTED,
        IntakeStatus.DUPLICATE,
        IntakeStatus.DUPLICATE,
        IntakeStatus.ACCEPTED,
    ]
    assert same_user.journey_id == same_webhook.journey_id == first.journey_id
    assert rows("SELECT username FROM users ORDER BY external_id") == [("小美",), ("小美",)]


def test_a_user_imported_without_a_journey_gets_one() -> None:
    intake.accept([submission("u1")])
    with_journey = rows("SELECT id FROM journeys")
    execute("DELETE FROM journeys")
    (accepted,) = intake.accept([submission("u1", "w9")])
    assert accepted.status is IntakeStatus.ACCEPTED
    assert with_journey != [(accepted.journey_id,)]
    assert counts() == (1, 1, 3)


def test_the_same_registrations_from_many_threads_at_once_make_one_journey_each() -> None:
    def send(_: int) -> list[str]:
        return [one.status.value for one in intake.accept([submission(f"u{n}", f"w{n}") for n in range(20)])]

    with ThreadPoolExecutor(8) as pool:
        statuses = [status for answer in pool.map(send, range(8)) for status in answer]
    assert sorted(statuses) == ["accepted"] * 20 + ["duplicate"] * 140
    assert counts() == (20, 20, 60)


def test_automation_switched_off_records_the_customer_and_starts_nothing() -> None:
    automation.change({"enabled": False}, actor="test")
    (skipped,) = intake.accept([submission("u1", "w1")])
    assert (skipped.status, skipped.reason) == (IntakeStatus.SKIPPED, "automation_disabled")
    assert counts() == (1, 1, 0)
    assert rows("SELECT status, reason, finished_at IS NOT NULL, greet_by_at FROM journeys") == [
        ("skipped", "automation_disabled", True, None)
    ]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"user_id": ""}, "user_id"),
        ({"user_id": None}, "user_id"),
        ({"user_id": "x" * 201}, "user_id"),
        ({"user_id": "a\x00b"}, "user_id"),
        ({"username": ""}, "username"),
        ({"username": "\ud800"}, "username"),
        ({"username": 7}, "username"),
        ({"email": {"not": "text"}}, "email"),
        ({"interests": "skin"}, "interests"),
        ({"registered_at": "2026-11-20T08:00:00"}, "registered_at"),
        ({"registered_at": "yesterday"}, "registered_at"),
    ],
)
def test_wrong_fields_are_named_and_nothing_is_written(fields: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Registration.model_validate({"user_id": "u1", "username": "小美", **fields})
    assert refused.value.errors()[0]["loc"][0] == field
    assert counts() == (0, 0, 0)


def test_an_unknown_field_that_cannot_be_stored_is_refused() -> None:
    with pytest.raises(ValidationError, match="NUL"):
        submission("u1", nested={"deep": ["a\x00"]})


def test_a_webhook_id_used_for_two_users_in_one_set_fails_none_of_the_set() -> None:
    first, second, third = intake.accept([submission("u1", "w1"), submission("u2", "w1"), submission("u2", "w9")])
    assert [one.status for one in (first, second, third)] == ["accepted", "duplicate", "accepted"]
    assert second.journey_id == first.journey_id
    assert third.journey_id != first.journey_id
