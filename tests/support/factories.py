"""Rows for tests, each complete and committed; pass what the test is about, the rest is filled in."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import select

from core.clock import utc_now
from core.crypto import encrypt
from core.database import unit_of_work
from core.ids import new_handle, new_id
from models import (
    Agent,
    Consultant,
    Conversation,
    Journey,
    JourneyStatus,
    JourneyStep,
    Notification,
    PushChannel,
    StepName,
    User,
)

Row = TypeVar("Row")
_number = count(1)


def create_user(**fields: Any) -> User:
    """A customer as the signup service would have told us of them."""
    number = next(_number)
    defaults: dict[str, Any] = {
        "id": new_id(),
        "external_id": f"u-{number}",
        "username": f"customer {number}",
        "email": f"customer{number}@example.com",
        "phone": f"+86138{number:08d}",
        "roles": ["customer"],
        "primary_role": "customer",
        "locale": "zh-CN",
        "source": "wechat",
        "interests": ["skin"],
        "registered_at": utc_now(),
    }
    return _stored(User(**(defaults | fields)))


def create_consultant(*, user: User | None = None, **fields: Any) -> Consultant:
    number = next(_number)
    owner = user or create_user(
        external_id=None, username=f"consultant {number}", roles=["consultant"], primary_role="consultant"
    )
    return _stored(Consultant(**({"user_id": owner.id, "display_name": owner.username} | fields)))


def create_push_channel(consultant: Consultant, url: str, **fields: Any) -> PushChannel:
    defaults: dict[str, Any] = {
        "consultant_id": consultant.id,
        "kind": "http",
        "url_encrypted": encrypt(SecretStr(url)),
    }
    return _stored(PushChannel(**(defaults | fields)))


def create_agent(base_url: str = "http://127.0.0.1:9/v1", *, api_key: str = "app-test", **fields: Any) -> Agent:
    """An enabled agent; by default at an address where nobody answers."""
    defaults: dict[str, Any] = {
        "name": f"agent {next(_number)}",
        "base_url": base_url,
        "api_key_encrypted": encrypt(SecretStr(api_key)),
    }
    return _stored(Agent(**(defaults | fields)))


def create_journey(*, user: User | None = None, **fields: Any) -> Journey:
    """An accepted journey with its three pending steps; nothing is published for it."""
    owner = user or create_user()
    now = utc_now()
    defaults: dict[str, Any] = {
        "id": new_id(),
        "user_id": owner.id,
        "status": JourneyStatus.ACCEPTED,
        "open_steps": len(StepName),
        "settings_version": 0,
        "handle": new_handle(),
        "handle_expires_at": now + timedelta(minutes=10),
        "accepted_at": now,
        "greet_by_at": now + timedelta(seconds=3),
    }
    journey = Journey(**(defaults | fields))
    with unit_of_work() as session:
        session.add(journey)
        session.flush()
        for position, name in enumerate(StepName):
            due = {"due_at": now, "sweep_at": now + timedelta(seconds=1)} if position == 0 else {}
            session.add(JourneyStep(journey_id=journey.id, name=name, position=position, **due))
    return journey


def create_conversation(*, customer: User | None = None, **fields: Any) -> Conversation:
    owner = customer or create_user()
    defaults: dict[str, Any] = {
        "customer_id": owner.id,
        "title": "新客户咨询",
        "tags": ["新客户"],
        "owner": "general_ai",
    }
    return _stored(Conversation(**(defaults | fields)))


def _stored(row: Row) -> Row:
    with unit_of_work() as session:
        session.add(row)
    return row


def notifications_of(journey_ids: Sequence[UUID]) -> list[Notification]:
    """Return what consultants were told of these journeys, in no order."""
    with unit_of_work() as session:
        return list(session.scalars(select(Notification).where(Notification.journey_id.in_(journey_ids))))
