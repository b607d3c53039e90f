"""A receiver of pushes, and customers who wait."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import text

from core.database import unit_of_work
from core.ids import new_id
from models import Consultant, Conversation, Notification, StepName
from queries.effects import Told
from services import push_settings
from services.steps.notification import notify_consultants
from tests.consultants.receiver import Receiver, receiving
from tests.support.factories import create_conversation, create_journey, create_user, notifications_of


@pytest.fixture
def receiver(database: str) -> Iterator[Receiver]:
    push_settings.allow_loopback(actor="test")
    with receiving() as receiver:
        yield receiver


def rows(sql: str, **parameters: object) -> list[tuple[object, ...]]:
    with unit_of_work() as session:
        return [tuple(row) for row in session.execute(text(sql), parameters)]


def execute(sql: str, **parameters: object) -> None:
    with unit_of_work() as session:
        session.execute(text(sql), parameters)


def customer_waits(**customer: object) -> Conversation:
    """A customer with an open conversation whose consultants are to be told now."""
    user = create_user(**customer)
    journey = create_journey(user=user)
    conversation = create_conversation(customer=user, journey_id=journey.id)
    execute(
        "UPDATE journey_steps SET due_at = now(), status = CASE name WHEN :n THEN 'pending' ELSE 'succeeded' END WHERE journey_id = :j",
        n=StepName.NOTIFY_CONSULTANTS,
        j=journey.id,
    )
    execute("UPDATE journeys SET open_steps = 1, status = 'running' WHERE id = :j", j=journey.id)
    return conversation


def tell(*conversations: Conversation) -> list[Notification]:
    """Run the notification step; return what it wrote."""
    told: list[Told] = []
    journeys = [one.journey_id for one in conversations if one.journey_id is not None]
    notify_consultants(journeys, on_told=told.extend)
    written = notifications_of([one.journey_id for one in told])
    assert sorted(push for one in told for push in one.pushes) == sorted(
        one.id for one in written if one.channel == "push"
    )
    return written


def connect(consultant: Consultant) -> UUID:
    """A live socket of the consultant's; returns its id."""
    connection_id = new_id()
    execute(
        "INSERT INTO consultant_connections (id, consultant_id, expires_at) VALUES (:i, :c, now() + interval '1 hour')",
        i=connection_id,
        c=consultant.id,
    )
    return connection_id
