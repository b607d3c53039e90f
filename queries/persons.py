"""Reading, erasing and pruning what the record holds of one person; where that is, says queries.holdings."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

# A `user_id` of the signup service is looked for in any text if it is as long as this and has a digit: `customer`, `true`
# or `1001` stand in everybody's data, and count, like names, only as the whole value of a field that names somebody.
TELLING_LENGTH = 8
NAMING_FIELDS = "user_id|external_id|username|name|email|phone"
LONGEST_LOGIN = 200
# Longer than any statement of the product: the logs are read as a whole.
SCAN_TIMEOUT_MS = 240_000


@dataclass(frozen=True, slots=True)
class Person:
    """One person's keys in the record, and what names them; once erased, nothing does."""

    user: User
    journey_ids: list[UUID]
    conversation_ids: list[UUID]
    handles: Sequence[str] = ()
    names: Sequence[str] = ()

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that the conditions of the holdings may use."""
        ids = [self.user.id, *self.journey_ids, *self.conversation_ids]
        keys, values = [*map(str, ids), *self.handles], self._values()
        if values and (known := self.user.external_id) and _is_telling(known):
            keys.append(known)
        return {
            "user_id": self.user.id,
            "journey_ids": self.journey_ids,
            "conversation_ids": self.conversation_ids,
            "texts": [str(one) for one in ids],
            "names": [_standing_alone(one) for one in keys] + [_whole_value(one) for one in values],
            "needles": [f"%{_in_like(one)}%" for one in keys] + [f'%"{_in_like(_in_json(one))}%' for one in values],
            "logins": [] if self.user.erased_at else _logins(self.user.username),
        }

    def _values(self) -> list[str]:
        """Return what names the person where it is the value of a field. Not the avatar: many have the same one."""
        if self.user.erased_at is not None:
            return []
        told = (self.user.external_id, self.user.username, self.user.email, self.user.phone)
        return [one for one in told if one]


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
    handles = [row.handle for row in found if row.handle]
    told = (user.external_id, user.username, user.email, user.phone, user.avatar, *handles)
    names = [one for one in told if one] if user.erased_at is None else []
    return Person(user, [row.id for row in found], list(conversations), handles, names)


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


def erase_holding(
    session: Session, holding: Holding, person: Person, *, actor: str, since: datetime | None = None
) -> int:
    """Erase the person's rows of one table; return how many there were. Idempotent.

    With `since`, of a log only what was written from then on: by its index, and not the log as a whole.
    """
    changes, where = {**holding.erased, **holding.ends}, holding.where
    if since is not None and holding.written_at is not None:
        where = f"{holding.written_at} >= :since AND ({where} OR {holding.late_where})"
    known = person.parameters() | {"actor": actor, "since": since}
    parameters = _used(f"{where} {' '.join(changes.values())}", known)
    return _count(session, text(_statement(holding.table, changes, where)), parameters)


def prune_kind(session: Session, kind: Kind, parameters: Mapping[str, Any]) -> int:
    """Erase one kind of data where `pruned_where` over these parameters says, and end nothing; return how many rows."""
    rows = 0
    for holding in HOLDINGS:
        if holding.kind is kind:
            # Most rows have nothing to prune, and writing them all would cost as much as the journeys did.
            differs = " OR ".join(f"{column} IS DISTINCT FROM {value}" for column, value in holding.erased.items())
            statement = text(_statement(holding.table, holding.erased, f"{holding.pruned_where} AND ({differs})"))
            rows += _count(session, statement, parameters)
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
        "needles": ARRAY(TEXT),
        "logins": ARRAY(TEXT),
    }
    return statement.bindparams(*(bindparam(name, type_=arrays[name]) for name in parameters if name in arrays))


def _count(session: Session, statement: TextClause, parameters: Mapping[str, Any]) -> int:
    counted = text(f"WITH changed AS ({statement.text} RETURNING 1) SELECT count(*) FROM changed")
    return int(session.execute(_typed(counted, parameters), parameters).scalar_one())


def _is_telling(external_id: str) -> bool:
    return len(external_id) >= TELLING_LENGTH and re.search("[0-9]", external_id) is not None


def _in_json(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)[1:-1]


def _in_like(literal: str) -> str:
    return re.sub(r"([%_\\])", r"\\\1", literal)


def _standing_alone(key: str) -> str:
    """Return a regular expression for a key wherever it stands in a text: `wx-10012345` is not in `wx-10012345-6`."""
    return f"(^|[^0-9A-Za-z_.@-]){re.escape(key)}([^0-9A-Za-z_.@-]|[.@-]([^0-9A-Za-z_]|$)|$)"


def _whole_value(name: str) -> str:
    """Return a regular expression for a name as a whole value of a field that names somebody, as JSON writes it.

    Also where JSON stands inside a text of JSON, as the beginning of a large request does.
    """
    return rf'"({NAMING_FIELDS})\\?": ?\\?"{re.escape(_in_json(name))}\\?"'


def _logins(name: str) -> list[str]:
    """Return LIKE patterns for the keys that failed sign-ins under this name are counted by (services.auth)."""
    key = "name:" + _in_like(name.casefold()[:LONGEST_LOGIN])
    return [key, f"{key}@%"]
