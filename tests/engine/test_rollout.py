"""Whom the automation is rolled out to: sticky, growing, internal accounts first, and the reason on each skipped journey."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import event, select

from core.database import engine, unit_of_work
from models import Journey, JourneyStep, User
from services import automation, intake, mcp_registry, mcp_seed, mcp_settings, rollout
from services.intake import IntakeStatus, Registration, Submission
from services.rollout import RolloutSettings, SkipReason

ids = st.text(min_size=1, max_size=40)
percents = st.floats(min_value=0, max_value=100, allow_nan=False)


def reason(
    percent: float, user_id: str, *, email: str | None = None, roles: tuple[str, ...] = ("customer",)
) -> str | None:
    settings = RolloutSettings(
        percent=percent, internal_user_ids=("u-inside",), internal_email_domains=("anmei.example",)
    )
    return rollout.skip_reason(settings, user_id=user_id, email=email, roles=roles)


@given(ids, percents, percents)
def test_whoever_is_in_at_some_percent_is_in_at_every_higher_one(user_id: str, one: float, other: float) -> None:
    lower, higher = sorted((one, other))
    assert reason(lower, user_id) == reason(lower, user_id)
    assert not (reason(lower, user_id) is None and reason(higher, user_id) is not None)


@given(ids)
def test_nobody_is_in_at_none_and_everybody_at_a_hundred(user_id: str) -> None:
    assert 0 <= rollout.place_of(user_id) < 100
    assert reason(100, user_id) is None
    assert reason(0, user_id) == SkipReason.INTERNAL_ONLY or user_id == "u-inside"


@given(percents)
def test_internal_accounts_are_in_at_every_percent(percent: float) -> None:
    assert reason(percent, "u-inside") is None
    assert reason(percent, "u-1", email="Lin@ANMEI.example") is None
    assert reason(percent, "u-1", roles=("customer", "consultant")) is None


def test_an_address_that_only_ends_like_the_domain_is_not_internal() -> None:
    for email in ("a@notanmei.example", "anmei.example@elsewhere.example", None, ""):
        assert reason(0, "u-1", email=email) == SkipReason.INTERNAL_ONLY


@pytest.mark.parametrize("percent", [10, 50])
def test_the_share_is_what_was_asked_for(percent: int) -> None:
    people = [f"u-{number}" for number in range(20_000)]
    found = sum(reason(percent, one) is None for one in people) / len(people) * 100
    assert abs(found - percent) < 1.5


def test_places_are_the_same_for_ever() -> None:
    """A release that moved them would throw out customers who are in: the figures are part of the promise."""
    assert [round(rollout.place_of(f"u-{number}"), 4) for number in (1, 2, 3)] == [67.1461, 3.7808, 54.988]


@pytest.mark.parametrize(
    "values", [{"percent": -1}, {"percent": 100.1}, {"percent": float("nan")}, {"internal_email_domains": ["@x"]}]
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RolloutSettings.model_validate(values)


def accept(user_id: str, **fields: object) -> intake.Acceptance:
    registration = Registration.model_validate({"user_id": user_id, "username": "小美"} | fields)
    return intake.accept([Submission(registration, f"wh-{user_id}")])[0]


def test_a_customer_outside_is_recorded_with_the_reason_and_nothing_else_happens(database: str) -> None:
    automation.change({"rollout": {"percent": 50}}, actor="test")
    outside = next(f"u-{number}" for number in range(99) if rollout.place_of(f"u-{number}") >= 50)
    inside = next(f"u-{number}" for number in range(99) if rollout.place_of(f"u-{number}") < 50)
    skipped = accept(outside)
    assert (skipped.status, skipped.reason) == (IntakeStatus.SKIPPED, "outside_rollout")
    assert accept(inside).status == IntakeStatus.ACCEPTED
    assert accept(outside + "-staff", roles=["doctor"]).status == IntakeStatus.ACCEPTED
    automation.change({"rollout": {"percent": 100}}, actor="test")
    # The registration was told of once; a repeat does not begin a journey behind it.
    assert accept(outside).status == IntakeStatus.DUPLICATE
    with unit_of_work() as session:
        row = session.get_one(Journey, skipped.journey_id)
        assert (row.status, row.reason, row.open_steps) == ("skipped", "outside_rollout", 0)
        assert session.scalars(select(User.username).where(User.id == row.user_id)).one() == "小美"
        assert session.scalars(select(JourneyStep).where(JourneyStep.journey_id == row.id)).all() == []


def test_registrations_are_skipped_while_the_profile_tool_is_switched_off(database: str) -> None:
    mcp_seed.ensure_seed()
    mcp_registry.reload()
    assert accept("u-1").status == IntakeStatus.ACCEPTED
    mcp_settings.change({"enabled": False}, actor="test")
    skipped = accept("u-2")
    assert (skipped.status, skipped.reason) == (IntakeStatus.SKIPPED, "tool_unavailable")
    for values in ({"welcome_strategy": "template_only"}, {"rollout": {"require_profile_tool": False}}):
        automation.change(values, actor="test")
        assert accept(f"u-{len(str(values))}").status == IntakeStatus.ACCEPTED
    automation.change({}, actor="test")
    mcp_settings.change({"enabled": True}, actor="test")
    assert accept("u-9").status == IntakeStatus.ACCEPTED


def test_the_decision_asks_the_database_nothing(database: str) -> None:
    accept("u-warm")
    counted: list[str] = []
    event.listen(engine(), "before_cursor_execute", lambda *given: counted.append(given[2]))
    automation_settings = automation.current()
    registration = Registration(user_id="u-1", username="小美")
    assert intake.skip_reason(registration, automation_settings) is None
    assert counted == []
