"""What is on record about one customer: conversations, messages, appointments, consultations, treatments, plans."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from models import (
    Appointment,
    AppointmentStatus,
    ConsultationRecord,
    Conversation,
    Message,
    SenderType,
    TreatmentPlan,
    TreatmentProject,
    TreatmentRecord,
)

# Where the customers are: the hours a person keeps are theirs.
LOCAL_ZONE = "Asia/Shanghai"


def message_counts(session: Session, customer_id: UUID) -> dict[str, int]:
    """Return the number of messages in the customer's conversations by who sent them."""
    rows = session.execute(
        select(Message.sender_type, func.count())
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(Conversation.customer_id == customer_id)
        .group_by(Message.sender_type)
    )
    return dict(rows.tuples().all())


def message_hours(session: Session, customer_id: UUID) -> dict[int, int]:
    """Return how many messages the customer wrote in each hour of the local day."""
    hour = func.extract("hour", func.timezone(LOCAL_ZONE, Message.created_at))
    rows = session.execute(
        select(hour, func.count())
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(Conversation.customer_id == customer_id, Message.sender_type == SenderType.CUSTOMER)
        .group_by(hour)
    )
    return {int(at): count for at, count in rows}


def last_message_at(session: Session, customer_id: UUID) -> datetime | None:
    """Return when the customer last wrote."""
    return session.scalar(
        select(func.max(Message.created_at))
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(Conversation.customer_id == customer_id, Message.sender_type == SenderType.CUSTOMER)
    )


def list_conversations(session: Session, customer_id: UUID, limit: int) -> list[Conversation]:
    """Return the customer's conversations, newest first."""
    return list(
        session.scalars(
            select(Conversation)
            .where(Conversation.customer_id == customer_id)
            .order_by(Conversation.created_at.desc())
            .limit(limit)
        )
    )


def list_last_messages(session: Session, conversation_id: UUID, limit: int) -> list[Message]:
    """Return the last messages of a conversation, oldest of them first."""
    newest = session.scalars(
        select(Message)
        .where(Message.conversation_id == conversation_id)
        .order_by(Message.created_at.desc(), Message.id.desc())
        .limit(limit)
    )
    return list(newest)[::-1]


def list_appointments(session: Session, customer_id: UUID) -> Sequence[Row[Appointment, TreatmentProject]]:
    """Return the customer's appointments with their projects, latest first."""
    return session.execute(
        select(Appointment, TreatmentProject)
        .join(TreatmentProject, TreatmentProject.id == Appointment.project_id)
        .where(Appointment.customer_id == customer_id)
        .order_by(Appointment.starts_at.desc())
    ).all()


def find_booked(session: Session, customer_id: UUID, project_id: UUID, starts_at: datetime) -> Appointment | None:
    """Return the customer's own booking of this slot, its row locked until the transaction ends."""
    return session.scalars(
        select(Appointment)
        .where(
            Appointment.customer_id == customer_id,
            Appointment.project_id == project_id,
            Appointment.starts_at == starts_at,
            Appointment.status == AppointmentStatus.BOOKED,
        )
        .with_for_update()
    ).one_or_none()


def list_consultations(session: Session, customer_id: UUID, limit: int) -> list[ConsultationRecord]:
    """Return the customer's consultations, newest first."""
    return list(
        session.scalars(
            select(ConsultationRecord)
            .where(ConsultationRecord.customer_id == customer_id)
            .order_by(ConsultationRecord.occurred_at.desc())
            .limit(limit)
        )
    )


def list_treatments(
    session: Session, customer_id: UUID, limit: int = 200
) -> Sequence[Row[TreatmentRecord, TreatmentProject]]:
    """Return the customer's treatments with their projects, newest first."""
    return session.execute(
        select(TreatmentRecord, TreatmentProject)
        .join(TreatmentProject, TreatmentProject.id == TreatmentRecord.project_id)
        .where(TreatmentRecord.customer_id == customer_id)
        .order_by(TreatmentRecord.performed_at.desc())
        .limit(limit)
    ).all()


def list_plans(session: Session, customer_id: UUID, limit: int) -> list[TreatmentPlan]:
    """Return the plans made for the customer, newest first."""
    return list(
        session.scalars(
            select(TreatmentPlan)
            .where(TreatmentPlan.customer_id == customer_id)
            .order_by(TreatmentPlan.created_at.desc())
            .limit(limit)
        )
    )


def list_projects(session: Session) -> list[TreatmentProject]:
    """Return what is offered now, by category and name."""
    return list(
        session.scalars(
            select(TreatmentProject)
            .where(TreatmentProject.is_active)
            .order_by(TreatmentProject.category, TreatmentProject.name)
        )
    )


def find_project(session: Session, code: str) -> TreatmentProject | None:
    """Return the project offered under this code."""
    return session.scalars(
        select(TreatmentProject).where(TreatmentProject.code == code, TreatmentProject.is_active)
    ).one_or_none()


def insert_projects_if_missing(session: Session, projects: Sequence[dict[str, Any]]) -> None:
    """Add the projects whose codes are not there yet."""
    session.execute(insert(TreatmentProject).on_conflict_do_nothing(index_elements=["code"]), list(projects))
