"""Counts about the business as a whole, by SQL; nothing here names a customer."""

from datetime import datetime
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from models import (
    Appointment,
    AppointmentStatus,
    Conversation,
    Journey,
    Message,
    TreatmentProject,
    TreatmentRecord,
    User,
)


def count_registrations(session: Session, since: datetime) -> int:
    return session.scalar(select(func.count()).select_from(User).where(User.registered_at >= since)) or 0


def registrations_by(session: Session, since: datetime) -> dict[str, int]:
    """Return registrations per source; those without one under `unknown`."""
    source = func.coalesce(User.source, "unknown")
    rows = session.execute(select(source, func.count()).where(User.registered_at >= since).group_by(source))
    return dict(rows.tuples().all())


def journeys_by_status(session: Session, since: datetime) -> dict[str, int]:
    rows = session.execute(
        select(Journey.status, func.count()).where(Journey.accepted_at >= since).group_by(Journey.status)
    )
    return dict(rows.tuples().all())


def average_greeting_seconds(session: Session, since: datetime) -> float | None:
    """Return the mean time from acceptance to greeting, of journeys that were greeted."""
    seconds = func.extract("epoch", Journey.greeted_at - Journey.accepted_at)
    found = session.scalar(
        select(func.avg(seconds)).where(Journey.accepted_at >= since, Journey.greeted_at.is_not(None))
    )
    return round(float(found), 3) if found is not None else None


def count_conversations(session: Session, since: datetime) -> dict[str, int]:
    """Return conversations opened, and how many of them a consultant claimed."""
    opened, claimed = session.execute(
        select(func.count(), func.count(Conversation.claimed_at)).where(Conversation.created_at >= since)
    ).one()
    return {"opened": opened, "claimed": claimed}


def messages_by_sender(session: Session, since: datetime) -> dict[str, int]:
    rows = session.execute(
        select(Message.sender_type, func.count()).where(Message.created_at >= since).group_by(Message.sender_type)
    )
    return dict(rows.tuples().all())


def project_figures(session: Session, since: datetime) -> list[dict[str, Any]]:
    """Return per offered project: appointments by status, treatments carried out and what was paid for them."""
    booked = (
        select(
            Appointment.project_id,
            *(
                func.sum(case((Appointment.status == status, 1), else_=0)).label(status.value)
                for status in AppointmentStatus
            ),
        )
        .where(Appointment.created_at >= since)
        .group_by(Appointment.project_id)
        .subquery()
    )
    treated = (
        select(
            TreatmentRecord.project_id,
            func.count().label("treatments"),
            func.sum(TreatmentRecord.paid_yuan).label("paid_yuan"),
        )
        .where(TreatmentRecord.performed_at >= since)
        .group_by(TreatmentRecord.project_id)
        .subquery()
    )
    counted = [booked.c.booked, booked.c.done, booked.c.cancelled, treated.c.treatments, treated.c.paid_yuan]
    rows = session.execute(
        select(
            TreatmentProject.code,
            TreatmentProject.name,
            TreatmentProject.category,
            *(func.coalesce(column, 0).label(column.name) for column in counted),
        )
        .outerjoin(booked, booked.c.project_id == TreatmentProject.id)
        .outerjoin(treated, treated.c.project_id == TreatmentProject.id)
        .where(TreatmentProject.is_active)
        .order_by(TreatmentProject.code)
    ).mappings()
    return [{name: int(value) if name in _COUNTED else value for name, value in row.items()} for row in rows]


_COUNTED = frozenset({"booked", "done", "cancelled", "treatments", "paid_yuan"})


def users_by_role(session: Session) -> dict[str, int]:
    """Return how many users hold each role; one with several roles counts in each."""
    role = func.jsonb_array_elements_text(User.roles).table_valued("value").render_derived("role")
    rows = session.execute(select(role.c.value, func.count()).select_from(User, role).group_by(role.c.value))
    return dict(rows.tuples().all())


def search_users(session: Session, text: str, limit: int) -> list[User]:
    """Return users whose name or external id begins with the text."""
    pattern = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    return list(
        session.scalars(
            select(User)
            .where(User.username.like(pattern) | User.external_id.like(pattern))
            .order_by(User.registered_at.desc())
            .limit(limit)
        )
    )
