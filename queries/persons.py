"""Reading, erasing and pruning what the record holds of one person; where that is, says queries.holdings."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT
from sqlalchemy.dialects.postgresql import UUID as PgUuid
from sqlalchemy.orm import Session

from core.errors import NotFoundError
from models import User
from queries.holdings import HOLDINGS, Holding, Kind

# Shorter ones are found in anybody's data: they count only as a whole JSON value.
SHORTEST_NAME = 4
LONGEST_NAME = 200
# Longer than any statement of the product: the logs are read as a whole.
SCAN_TIMEOUT_MS = 240_000


@dataclass(frozen=True, slots=True)
class Person:
    """One person's keys in the record, and what names them."""

    user: User
    journey_ids: list[UUID]
    conversation_ids: list[UUID]
    names: Sequence[str] = field(default_factory=tuple)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that the conditions of the holdings may use."""
        ids = [self.user.id, *self.journey_ids, *self.conversation_ids]
        return {
            "user_id": self.user.id,
            "journey_ids": self.journey_ids,
            "conversation_ids": self.conversation_ids,
            "texts": [str(one) for one in ids],
            "names": [_pattern(one) for one in [*self.names, *map(str, ids)]],
            "logins": [] if self.user.erased_at else _logins(self.user.username),
        }


def find_person(session: Session, user_id: UUID) -> Person:
    """Return the person; raise NotFoundError."""
    user = session.get(User, user_id)
    if user is None:
        raise NotFoundError("no such user", code="USER_NOT_FOUND")
    # Before a conversation's own lock, as everywhere.
    journeys = session.execute(text("SELECT id, handle FROM journeys WHERE user_id = :id ORDER BY id"), {"id": user_id})
    found = journeys.all()
    conversations = session.scalars(
        text("SELECT id FROM conversations WHERE customer_id = :id ORDER BY id"), {"id": user_id}
    )
    told = (user.external_id, user.username, user.email, user.phone, user.avatar, *(row.handle for row in found))
    erased = user.erased_at is not None
    names = [one for one in told if one] if not erased else []
    return Person(user, [row.id for row in found], list(conversations), names)


def lock_person(session: Session, person: Person) -> None:
    """Keep steps, claims and rungs of the person waiting until the transaction ends, in the order they lock."""
    parameters = {"journey_ids": person.journey_ids, "user_id": person.user.id}
    for statement in (
        "SELECT id FROM journeys WHERE id = ANY(:journey_ids) ORDER BY id FOR NO KEY UPDATE",
        "SELECT id FROM conversations WHERE customer_id = :user_id ORDER BY id FOR NO KEY UPDATE",
        "SELECT id FROM users WHERE id = :user_id FOR UPDATE",
    ):
        session.execute(text(statement), {name: parameters[name] for name in parameters if f":{name}" in statement})


def export_holding(session: Session, holding: Holding, person: Person) -> list[dict[str, Any]]:
    """Return the person's rows of one table, as JSON has them, without what is not theirs to have."""
    statement = text(
        f"SELECT to_jsonb(t) - CAST(:hidden AS text[]) FROM (SELECT * FROM {holding.table} WHERE {holding.where}) t"
    )
    parameters = _used(holding.where, person.parameters()) | {"hidden": list(holding.hidden)}
    return list(session.scalars(_typed(statement, parameters), parameters))


def erase_holding(session: Session, holding: Holding, person: Person, *, actor: str) -> int:
    """Erase the person's rows of one table; return how many there were. Idempotent."""
    changes = {**holding.erased, **holding.ends}
    parameters = _used(f"{holding.where} {' '.join(changes.values())}", person.parameters() | {"actor": actor})
    statement = text(_statement(holding.table, changes, holding.where))
    return _count(session, statement, parameters)


def prune_kind(session: Session, kind: Kind, journey_ids: Sequence[UUID]) -> int:
    """Erase one kind of data of these journeys, and end nothing; return how many rows that were."""
    rows = 0
    for holding in HOLDINGS:
        if holding.kind is kind:
            # Most rows have nothing to prune, and writing them all would cost as much as the journeys did.
            differs = " OR ".join(f"{column} IS DISTINCT FROM {value}" for column, value in holding.erased.items())
            statement = text(_statement(holding.table, holding.erased, f"{holding.pruned_where} AND ({differs})"))
            rows += _count(session, statement, {"journey_ids": list(journey_ids)})
    return rows


def remember_erased(session: Session, user: User) -> None:
    """Note what a registration sent again is known by."""
    if user.external_id is not None:
        session.execute(
            text("INSERT INTO erased_users (external_hash, user_id) VALUES (:hash, :id) ON CONFLICT DO NOTHING"),
            {"hash": hashlib.sha256(user.external_id.encode()).digest(), "id": user.id},
        )


def allow_long_scan(session: Session) -> None:
    """Let this transaction read whole logs."""
    session.execute(text(f"SET LOCAL statement_timeout = {SCAN_TIMEOUT_MS}"))


def list_erased_since(session: Session, since: datetime, *, most: int) -> list[UUID]:
    """Return who was erased since then."""
    statement = text("SELECT id FROM users WHERE erased_at >= :since ORDER BY erased_at LIMIT :most")
    return list(session.scalars(statement, {"since": since, "most": most}))


def list_come_back(session: Session, since: datetime) -> list[UUID]:
    """Return users made since then under the `user_id` of somebody who was erased: their registration came in meanwhile."""
    statement = text("""
SELECT u.id FROM users u JOIN erased_users e ON e.external_hash = sha256(convert_to(u.external_id, 'UTF8'))
WHERE u.id >= :first ORDER BY u.id""")
    # Ids begin with the millisecond they were made in (RFC 9562).
    return list(session.scalars(statement, {"first": UUID(int=int(since.timestamp() * 1000) << 80)}))


def is_consultant(session: Session, user_id: UUID) -> bool:
    """Tell whether customers were, or are, looked after by this person."""
    return session.scalar(text("SELECT EXISTS (SELECT FROM consultants WHERE user_id = :id)"), {"id": user_id}) is True


def list_sessions(session: Session, user_id: UUID) -> list[UUID]:
    """Return the person's sessions."""
    return list(session.scalars(text("SELECT id FROM auth_sessions WHERE user_id = :id"), {"id": user_id}))


def _statement(table: str, changes: Mapping[str, str], where: str) -> str:
    if not changes:
        return f"DELETE FROM {table} WHERE {where}"
    return f"UPDATE {table} SET {', '.join(f'{column} = {value}' for column, value in changes.items())} WHERE {where}"


def _used(sql: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if f":{name}" in sql}


def _typed(statement: TextClause, parameters: Mapping[str, Any]) -> TextClause:
    """Name the types of arrays: an empty one has none of its own."""
    arrays = {
        "journey_ids": ARRAY(PgUuid),
        "conversation_ids": ARRAY(PgUuid),
        "texts": ARRAY(TEXT),
        "names": ARRAY(TEXT),
        "logins": ARRAY(TEXT),
    }
    return statement.bindparams(*(bindparam(name, type_=arrays[name]) for name in parameters if name in arrays))


def _count(session: Session, statement: TextClause, parameters: Mapping[str, Any]) -> int:
    counted = text(f"WITH changed AS ({statement.text} RETURNING 1) SELECT count(*) FROM changed")
    return int(session.execute(_typed(counted, parameters), parameters).scalar_one())


def _pattern(name: str) -> str:
    """Return a regular expression for what names the person, wherever it stands alone in a text."""
    escaped = re.escape(name[:LONGEST_NAME])
    if name.isascii() and len(name) < SHORTEST_NAME:
        return f'"{escaped}"'
    # `u-1001` is not to be found in `u-10012`.
    return f"(^|[^0-9A-Za-z_]){escaped}([^0-9A-Za-z_]|$)"


def _logins(name: str) -> list[str]:
    """Return LIKE patterns for the keys that failed sign-ins under this name are counted by (services.auth)."""
    key = "name:" + re.sub(r"([%_\\\\])", r"\\\1", name.casefold()[:LONGEST_NAME])
    return [key, f"{key}@%"]
