"""Writers that fill the record the way the engine does: rows inserted, then updated in later transactions."""

import random
import threading
from uuid import UUID

import psycopg

from core.ids import new_id

STEPS = ("create_conversation", "generate_welcome", "notify_consultants")


def insert_user(connection: psycopg.Connection) -> UUID:
    user_id = new_id()
    connection.execute(
        "INSERT INTO users (id, external_id, username, registered_at) VALUES (%s, %s, 'customer', now())",
        (user_id, str(user_id)),
    )
    return user_id


def insert_journey(connection: psycopg.Connection) -> UUID:
    """Insert an accepted journey; the caller's transaction decides when it is seen."""
    journey_id = new_id()
    connection.execute(
        "INSERT INTO journeys (id, user_id, status, open_steps, settings_version) VALUES (%s, %s, 'accepted', 3, 0)",
        (journey_id, insert_user(connection)),
    )
    return journey_id


def begin_attempt(connection: psycopg.Connection, journey_id: UUID, step: str, attempt: int = 1) -> UUID:
    attempt_id = new_id()
    connection.execute(
        "INSERT INTO step_attempts (id, journey_id, step, attempt, outcome, started_at)"
        " VALUES (%s, %s, %s, %s, 'running', clock_timestamp())",
        (attempt_id, journey_id, step, attempt),
    )
    return attempt_id


def end_attempt(connection: psycopg.Connection, attempt_id: UUID, outcome: str = "succeeded") -> None:
    connection.execute(
        "UPDATE step_attempts SET outcome = %s, finished_at = clock_timestamp() WHERE id = %s", (outcome, attempt_id)
    )


def greet(connection: psycopg.Connection, journey_id: UUID, source: str = "agent") -> None:
    connection.execute(
        "INSERT INTO conversations (id, customer_id, journey_id, title, owner)"
        " SELECT id, user_id, id, 'title', 'owner' FROM journeys WHERE id = %s ON CONFLICT DO NOTHING",
        (journey_id,),
    )
    connection.execute(
        "INSERT INTO messages (id, conversation_id, sender_type, content, journey_id, source)"
        " VALUES (%s, %s, 'ai', '{}', %s, %s)",
        (new_id(), journey_id, journey_id, source),
    )
    connection.execute(
        "UPDATE journeys SET conversation_at = clock_timestamp(), greeted_at = clock_timestamp(), greeted_by = %s WHERE id = %s",
        (source, journey_id),
    )


def finish(connection: psycopg.Connection, journey_id: UUID) -> None:
    connection.execute(
        "UPDATE journeys SET status = 'succeeded', open_steps = 0, finished_at = clock_timestamp() WHERE id = %s",
        (journey_id,),
    )


def fail(connection: psycopg.Connection, journey_id: UUID, step: str) -> None:
    connection.execute(
        "INSERT INTO dead_letters (id, journey_id, step, error_code, error_text, attempts) VALUES (%s, %s, %s, 'E', 'e', 1)",
        (new_id(), journey_id, step),
    )
    connection.execute("UPDATE journeys SET status = 'failed' WHERE id = %s", (journey_id,))


def live_a_journey(connection: psycopg.Connection, chance: random.Random, pause: threading.Event) -> None:
    """One journey through all its steps, each in a transaction of its own that stays open for a moment."""
    with connection.transaction():
        journey_id = insert_journey(connection)
        pause.wait(chance.random() * 0.03)
    for step in STEPS:
        with connection.transaction():
            attempt_id = begin_attempt(connection, journey_id, step)
        with connection.transaction():
            if step == "generate_welcome" and chance.random() < 0.2:
                end_attempt(connection, attempt_id, "failed")
                fail(connection, journey_id, step)
                return
            end_attempt(connection, attempt_id)
            if step == "generate_welcome":
                greet(connection, journey_id, chance.choice(["agent", "template"]))
            pause.wait(chance.random() * 0.01)
    with connection.transaction():
        finish(connection, journey_id)
