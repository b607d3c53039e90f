"""A whole journey with everything that can hang on one, its person's values in every column that may hold them."""

import re
from datetime import timedelta
from typing import Any

from sqlalchemy import Text, text

from core.clock import utc_now
from core.database import unit_of_work
from core.ids import new_id
from models import (
    AgentCall,
    AgentFeedback,
    Alert,
    Appointment,
    AuthSession,
    Base,
    CallLog,
    Claim,
    ConsultationRecord,
    DeadLetter,
    Escalation,
    EscalationPush,
    Event,
    Feedback,
    Journey,
    LoginFailures,
    Message,
    Notification,
    OidcIdentity,
    StepAttempt,
    StepName,
    TreatmentPlan,
    TreatmentProject,
    TreatmentRecord,
    User,
    WebhookReceipt,
)
from queries.holdings import HOLDINGS
from services import mcp_calls
from tests.support.factories import create_agent, create_consultant, create_conversation, create_journey, create_user

# Values nobody else in these tests has.
VALUES = {
    "external_id": "wx-zhenmei-7731",
    "username": "甄美丽",
    "email": "zhen.meili@private.example",
    "phone": "+8613977310042",
    "avatar": "https://img.example/zhenmeili.png",
}
MARK = " / ".join(VALUES.values())


class Seeded:
    """One person, and the same of somebody else, who must stay as they are."""

    def __init__(self) -> None:
        self.consultant = create_consultant()
        self.agent = create_agent()
        self.project = TreatmentProject(
            id=new_id(), code="P1", name="护理", category="skin", description="", price_min_yuan=1, price_max_yuan=2,
            duration_minutes=30, recovery_days=0,
        )  # fmt: skip
        with unit_of_work() as session:
            session.add(self.project)
        self.user = create_user(**VALUES, extra={"wechat": {"nick": VALUES["username"]}}, interests=["隆鼻"])
        self.journey = self._whole(self.user, "wh-zhenmei-7731")
        self.other = create_user(external_id="wx-zhenmei-77310", username="旁人")
        self.other_journey = self._whole(self.other, "wh-other")

    def _whole(self, user: User, webhook_id: str) -> Journey:
        journey = create_journey(user=user, status="failed", reason=f"about {user.username}")
        conversation = create_conversation(
            customer=user, journey_id=journey.id, claimed_by_id=self.consultant.id, claimed_at=utc_now()
        )
        name = {"username": user.username, "user_id": user.external_id}
        welcome = Message(id=new_id(), conversation_id=conversation.id, sender_type="ai", content={"type": "text", "text": f"{user.username}，您好"}, journey_id=journey.id, source="agent")  # fmt: skip
        said = Message(id=new_id(), conversation_id=conversation.id, sender_type="customer", sender_id=user.id, content={"type": "text", "text": f"我是{user.username} {user.phone}"})  # fmt: skip
        call = AgentCall(id=new_id(), journey_id=journey.id, attempt=1, agent_id=self.agent.id, refusal=f"contact: {user.phone}", refused_answer=f"call {user.phone}", provider_message_id="m")  # fmt: skip
        rung = Escalation(id=new_id(), journey_id=journey.id, conversation_id=conversation.id, rung=0, action="remind", waiting_since=utc_now(), due_at=utc_now(), sweep_at=utc_now())  # fmt: skip
        step, now = StepName.GENERATE_WELCOME, utc_now()
        rows: list[list[Any]] = [
            [welcome, said, call, rung],
            [
                StepAttempt(journey_id=journey.id, step=step, attempt=1, outcome="failed", started_at=now, error_text=user.username),
                DeadLetter(journey_id=journey.id, step=step, error_code="BOOM", error_text=f"{user.email}", attempts=4, payload=name),
                Notification(journey_id=journey.id, consultant_id=self.consultant.id, channel="push", status="pending", payload=name, due_at=now, sweep_at=now),
                EscalationPush(escalation_id=rung.id, journey_id=journey.id, consultant_id=self.consultant.id, status="pending", payload=name),
                Claim(conversation_id=conversation.id, consultant_id=self.consultant.id, waited_ms=5),
                Feedback(id=new_id(), message_id=welcome.id, user_id=user.id, rating=5, comment=user.username),
                AgentFeedback(message_id=welcome.id, call_id=call.id, verdict="like", comment=user.username, sweep_at=now),
                WebhookReceipt(webhook_id=webhook_id, journey_id=journey.id),
                Event(audience="consultants", type="new_customer", data=name, journey_id=journey.id),
                Event(audience=f"customer:{user.id}", type="message", data=name),
                Event(audience="consultants", type="message", data={"conversation_id": str(conversation.id), "content": said.content}),
                Alert(key=f"k:{journey.id}", severity="critical", title="t", body=f"journey {journey.id} {user.username}", occurrences=1, status="sent"),
                LoginFailures(key=f"name:{user.username}@127.0.0.1"),
                AuthSession(user_id=user.id, kind="customer", origin="10.0.0.1", expires_at=now + timedelta(days=1)),
                OidcIdentity(issuer="https://id.example", subject=f"{user.external_id}", user_id=user.id),
                Appointment(customer_id=user.id, project_id=self.project.id, starts_at=now + timedelta(days=3, seconds=journey.id.int % 999), note=user.phone, created_by="g"),
                ConsultationRecord(customer_id=user.id, summary=f"{user.username} {user.interests}", outcome=user.username),
                TreatmentRecord(customer_id=user.id, project_id=self.project.id, doctor="Dr", notes=f"{user.username}", reactions=[f"{user.username}"], paid_yuan=99),
                TreatmentPlan(customer_id=user.id, items={"items": [{"reason": user.username}]}, created_by="g"),
                CallLog(id=new_id(), created_at=now, tool_name="get_user_profile", group_id=new_id(), group_name="g", journey_id=journey.id, transport="t", outcome="ok", success=True, duration_ms=1, request=name, response=f"{user.username}"),
                # One that is about them and of no journey, as a group that accepts user ids makes them.
                CallLog(id=new_id(), created_at=now, tool_name="user_management", group_id=new_id(), group_name="g", transport="t", outcome="ok", success=True, duration_ms=1, request={"user_id": user.external_id}, response=f'{{"id": "{user.id}"}}'),
            ],
        ]  # fmt: skip
        for together in rows:
            with unit_of_work() as session:
                session.add_all(together)
        return journey

    @property
    def conversation_id(self) -> str:
        return self._id_of("conversations")

    @property
    def letter_id(self) -> str:
        return self._id_of("dead_letters")

    def _id_of(self, table: str) -> str:
        with unit_of_work() as session:
            statement = text(f"SELECT id FROM {table} WHERE journey_id = :id")
            return str(session.scalars(statement, {"id": self.journey.id}).one())

    def mark_everything(self) -> None:
        """Write the person's values into every column that an erasure is to empty, whatever it was made for."""
        with unit_of_work() as session:
            for holding in HOLDINGS:
                table = Base.metadata.tables[holding.table]
                for column in holding.erased:
                    if column in VALUES or column in ("handle", "handle_expires_at"):
                        continue
                    is_text = isinstance(table.columns[column].type, Text)
                    value = (
                        # An alert is found by the ids in its body.
                        f"{'body || ' if column == 'body' else ''}CAST(:mark AS text)"
                        if is_text
                        else "jsonb_build_object('deep', jsonb_build_array(CAST(:mark AS text)))"
                    )
                    condition = _KEYS[next(key for key in _KEYS if key in table.columns or key == "id")]
                    session.execute(
                        text(f"UPDATE {holding.table} SET {column} = {value} WHERE {condition}"),
                        {"mark": MARK, "journey": self.journey.id, "user": self.user.id} if ":journey" in condition else {"mark": MARK, "user": self.user.id},
                    )  # fmt: skip


_KEYS = {
    "journey_id": "journey_id = :journey",
    "user_id": "user_id = :user",
    "customer_id": "customer_id = :user",
    "conversation_id": "conversation_id IN (SELECT id FROM conversations WHERE customer_id = :user)",
    "message_id": "message_id IN (SELECT m.id FROM messages m JOIN conversations v ON v.id = m.conversation_id WHERE customer_id = :user)",
    "body": "body LIKE '%' || (SELECT id FROM journeys WHERE user_id = :user) || '%'",
    "id": "id = :user",
}


def seed() -> Seeded:
    mcp_calls.maintain()
    return Seeded()


def tables() -> list[str]:
    """Return every table there is, from the database itself."""
    with unit_of_work() as session:
        return list(
            session.scalars(
                text(
                    "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
                    " AND NOT relispartition"
                )
            )
        )


def found(values: list[str]) -> dict[str, int]:
    """Return in how many rows of which table one of the values stands, in whatever column."""
    places = {}
    with unit_of_work() as session:
        for table in tables():
            count = session.scalar(
                text(f"SELECT count(*) FROM {table} t WHERE t::text ~ ANY(:values)"), {"values": values}
            )
            if count:
                places[table] = count
    return places


# Regular expressions: in part, and without what only begins like one of them.
NAMES = [
    *(re.escape(VALUES[name]) for name in ("email", "phone", "avatar")),
    VALUES["external_id"] + "([^0-9]|$)",
    VALUES["phone"][3:],
    "wh-zhenmei",
    "甄美",
    "隆鼻",
]
OTHERS = ["旁人", "wx-zhenmei-77310", "wh-other"]
