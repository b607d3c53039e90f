"""The catalogue of treatments and what happened around it: appointments, consultations, treatments, plans."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, CreatedAt, UuidKey, one_of


class AppointmentStatus(StrEnum):
    BOOKED = "booked"
    DONE = "done"
    CANCELLED = "cancelled"


class TreatmentProject(Base):
    """Something customers can buy. Prices in whole yuan."""

    __tablename__ = "treatment_projects"

    id: Mapped[UuidKey]
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    category: Mapped[str]
    description: Mapped[str]
    price_min_yuan: Mapped[int]
    price_max_yuan: Mapped[int]
    duration_minutes: Mapped[int]
    recovery_days: Mapped[int]
    # The interests (users.interests) it answers to.
    interests: Mapped[list[str]] = mapped_column(server_default=text("'[]'::jsonb"))
    contraindications: Mapped[list[str]] = mapped_column(server_default=text("'[]'::jsonb"))
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    created_at: Mapped[CreatedAt]

    __table_args__ = (CheckConstraint("price_max_yuan >= price_min_yuan", name="prices_ordered"),)


class Appointment(Base):
    __tablename__ = "appointments"

    id: Mapped[UuidKey]
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    project_id: Mapped[UUID] = mapped_column(ForeignKey("treatment_projects.id"))
    starts_at: Mapped[datetime]
    status: Mapped[str] = mapped_column(server_default=AppointmentStatus.BOOKED)
    note: Mapped[str | None]
    created_by: Mapped[str]
    created_at: Mapped[CreatedAt]

    __table_args__ = (
        one_of("status", AppointmentStatus),
        # First come, first served: one customer a project and time.
        Index(
            "uq_appointments_slot", "project_id", "starts_at", unique=True, postgresql_where=text("status = 'booked'")
        ),
        Index("ix_appointments_customer_id_starts_at", "customer_id", "starts_at"),
    )


class ConsultationRecord(Base):
    """What was talked about with a customer, as the consultant noted it."""

    __tablename__ = "consultation_records"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    consultant_id: Mapped[UUID | None] = mapped_column(ForeignKey("consultants.id"))
    project_id: Mapped[UUID | None] = mapped_column(ForeignKey("treatment_projects.id"))
    summary: Mapped[str]
    outcome: Mapped[str | None]
    occurred_at: Mapped[CreatedAt]

    __table_args__ = (Index("ix_consultation_records_customer_id_occurred_at", "customer_id", "occurred_at"),)


class TreatmentRecord(Base):
    """A treatment that was carried out, as the doctor noted it."""

    __tablename__ = "treatment_records"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    project_id: Mapped[UUID] = mapped_column(ForeignKey("treatment_projects.id"))
    doctor: Mapped[str]
    notes: Mapped[str]
    # What the customer reacted with, in the doctor's words; read against a project's contraindications.
    reactions: Mapped[list[str]] = mapped_column(server_default=text("'[]'::jsonb"))
    paid_yuan: Mapped[int]
    performed_at: Mapped[CreatedAt]

    __table_args__ = (Index("ix_treatment_records_customer_id_performed_at", "customer_id", "performed_at"),)


class TreatmentPlan(Base):
    """A proposal made for one customer from the catalogue; a person decides on it."""

    __tablename__ = "treatment_plans"

    id: Mapped[UuidKey]
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    # {"items": [{"project_code", "name", "price_min_yuan", "price_max_yuan", "reason"}]}, in order.
    items: Mapped[dict[str, Any]]
    budget_yuan: Mapped[int | None]
    created_by: Mapped[str]
    created_at: Mapped[CreatedAt]

    __table_args__ = (Index("ix_treatment_plans_customer_id_created_at", "customer_id", "created_at"),)
