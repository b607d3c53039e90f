"""Treatments: what is offered, booking it, what was done, and plans from the catalogue."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.clock import utc_now
from core.errors import ConflictError, InvalidInputError, NotFoundError
from core.ids import new_id
from models import Appointment, AppointmentStatus, TreatmentPlan, TreatmentProject
from queries import business
from queries import customer_records as queries
from services.mcp_work import CallContext

OPENS_AT, CLOSES_AT = 9, 18
SLOT_MINUTES = 30
BOOK_AHEAD = timedelta(days=180)
MAX_ANSWERS = 5


def describe_project(project: TreatmentProject) -> dict[str, Any]:
    """Return a project as customers are told of it."""
    return {
        "project_code": project.code,
        "name": project.name,
        "category": project.category,
        "description": project.description,
        "price_min_yuan": project.price_min_yuan,
        "price_max_yuan": project.price_max_yuan,
        "duration_minutes": project.duration_minutes,
        "recovery_days": project.recovery_days,
        "contraindications": project.contraindications,
    }


def inquire(context: CallContext, question: str) -> dict[str, Any]:
    """Return the offered projects the question is about, best first; none where nothing fits."""
    with context.session() as session:
        projects = queries.list_projects(session)
    scored = [(relevance(question, project), project) for project in projects]
    fitting = sorted((pair for pair in scored if pair[0] > 0), key=lambda pair: (-pair[0], pair[1].code))
    return {
        "question": question,
        "answers": [describe_project(project) for _, project in fitting[:MAX_ANSWERS]],
        "categories": sorted({project.category for project in projects}),
    }


def relevance(question: str, project: TreatmentProject) -> int:
    """Return how many of the question's two-character pieces a project's texts share; its name and interests count more.

    Pieces rather than words: Chinese is written without blanks.
    """
    asked = question.lower()
    pieces = {asked[at : at + 2] for at in range(len(asked) - 1) if asked[at : at + 2].strip() == asked[at : at + 2]}
    heading = f"{project.name} {project.category} {' '.join(project.interests)}".lower()
    body = project.description.lower()
    return sum(3 for piece in pieces if piece in heading) + sum(1 for piece in pieces if piece in body)


def service_info(context: CallContext, project_code: str | None, category: str | None) -> dict[str, Any]:
    """Return one project, or the offered ones of a category, or all; raise NotFoundError for an unknown code."""
    with context.session() as session:
        if project_code is not None:
            return {"projects": [describe_project(_project(session, project_code))]}
        projects = queries.list_projects(session)
    return {"projects": [describe_project(one) for one in projects if category is None or one.category == category]}


def book(
    context: CallContext, user_id: str, project_code: str, starts_at: datetime, note: str | None
) -> dict[str, Any]:
    """Book a slot; the same booking again is the same booking. Raise ConflictError (SLOT_TAKEN) when another has it."""
    _check_slot(starts_at)
    try:
        with context.session() as session:
            customer = context.user(session, user_id)
            project = _project(session, project_code)
            appointment = queries.find_booked(session, customer.id, project.id, starts_at)
            if appointment is None:
                appointment = Appointment(
                    id=new_id(),
                    customer_id=customer.id,
                    project_id=project.id,
                    starts_at=starts_at,
                    status=AppointmentStatus.BOOKED,
                    note=note,
                    created_by=context.group.name,
                )
                session.add(appointment)
                session.flush()
    except IntegrityError:
        raise ConflictError("this time is taken; choose another", code="SLOT_TAKEN") from None
    return _described(appointment, project)


def cancel(context: CallContext, user_id: str, project_code: str, starts_at: datetime) -> dict[str, Any]:
    """Cancel the customer's own booking; raise NotFoundError where there is none."""
    with context.session() as session:
        customer = context.user(session, user_id)
        project = _project(session, project_code)
        appointment = queries.find_booked(session, customer.id, project.id, starts_at)
        if appointment is None:
            raise NotFoundError("no such booking", code="APPOINTMENT_NOT_FOUND")
        appointment.status = AppointmentStatus.CANCELLED
    return _described(appointment, project)


def list_booked(context: CallContext, user_id: str) -> dict[str, Any]:
    """Return the customer's appointments, latest first."""
    with context.session() as session:
        customer = context.user(session, user_id)
        found = queries.list_appointments(session, customer.id)
    return {"appointments": [_described(appointment, project) for appointment, project in found]}


def medical_records(context: CallContext, user_id: str, limit: int) -> dict[str, Any]:
    """Return the treatments carried out, newest first."""
    with context.session() as session:
        patient = context.user(session, user_id)
        found = queries.list_treatments(session, patient.id, limit)
    return {
        "user_id": user_id,
        "records": [
            {
                "project_code": project.code,
                "name": project.name,
                "performed_at": record.performed_at.isoformat(),
                "doctor": record.doctor,
                "notes": record.notes,
                "reactions": record.reactions,
                "paid_yuan": record.paid_yuan,
            }
            for record, project in found
        ],
    }


def patient_analysis(context: CallContext, user_id: str) -> dict[str, Any]:
    """Return what the treatment records add up to: totals, reactions, and from when on the patient is recovered."""
    now = utc_now()
    with context.session() as session:
        patient = context.user(session, user_id)
        found = queries.list_treatments(session, patient.id)
    by_category: dict[str, int] = {}
    for _, project in found:
        by_category[project.category] = by_category.get(project.category, 0) + 1
    recovered = [record.performed_at + timedelta(days=project.recovery_days) for record, project in found]
    return {
        "user_id": user_id,
        "treatments": len(found),
        "by_category": by_category,
        "reactions": sorted({reaction for record, _ in found for reaction in record.reactions}),
        "last_treatment_at": found[0][0].performed_at.isoformat() if found else None,
        "recovered_from": max(recovered).isoformat() if recovered else None,
        "in_recovery": bool(recovered) and max(recovered) > now,
    }


def diagnosis_assist(context: CallContext, user_id: str, project_code: str) -> dict[str, Any]:
    """Return what on record speaks against a project for this patient. It decides nothing: a doctor does."""
    now = utc_now()
    with context.session() as session:
        patient = context.user(session, user_id)
        project = _project(session, project_code)
        found = queries.list_treatments(session, patient.id)
    reactions = {reaction for record, _ in found for reaction in record.reactions}
    findings = [
        {"kind": "contraindication", "detail": listed, "severity": "stop"}
        for listed in project.contraindications
        if listed in reactions
    ]
    for record, done in found:
        until = record.performed_at + timedelta(days=done.recovery_days)
        if until > now:
            detail = f"recovering from {done.name} until {until:%Y-%m-%d}"
            findings.append({"kind": "recovery", "detail": detail, "severity": "wait"})
    return {
        "user_id": user_id,
        "project_code": project.code,
        "findings": findings,
        "ask_about": [listed for listed in project.contraindications if listed not in reactions],
        "records_considered": len(found),
        "decided_by": "a doctor has to decide",
    }


def generate_plan(context: CallContext, user_id: str, goals: list[str], budget_yuan: int | None) -> dict[str, Any]:
    """Make and store a plan: offered projects for the goals (or the customer's interests) within the budget."""
    with context.session() as session:
        customer = context.user(session, user_id)
        had = {project.code for _, project in queries.list_treatments(session, customer.id)}
        wanted = goals or customer.interests
        items = choose(queries.list_projects(session), wanted, had, budget_yuan)
        plan = TreatmentPlan(
            id=new_id(),
            customer_id=customer.id,
            items={"items": items},
            budget_yuan=budget_yuan,
            created_by=context.group.name,
        )
        session.add(plan)
    return {
        "plan_id": str(plan.id),
        "user_id": user_id,
        "wanted": wanted,
        "items": items,
        "total_min_yuan": sum(item["price_min_yuan"] for item in items),
        "total_max_yuan": sum(item["price_max_yuan"] for item in items),
        "budget_yuan": budget_yuan,
    }


def choose(
    projects: list[TreatmentProject], wanted: list[str], had: set[str], budget_yuan: int | None
) -> list[dict[str, Any]]:
    """Return plan items: the project that answers most of what is wanted first, as long as its highest price fits."""
    asked = set(wanted)
    ranked = sorted(
        (project for project in projects if asked & set(project.interests) and project.code not in had),
        key=lambda project: (-len(asked & set(project.interests)), project.price_min_yuan, project.code),
    )
    items: list[dict[str, Any]] = []
    left = budget_yuan
    for project in ranked:
        if left is not None and project.price_max_yuan > left:
            continue
        if left is not None:
            left -= project.price_max_yuan
        items.append(
            {
                "project_code": project.code,
                "name": project.name,
                "price_min_yuan": project.price_min_yuan,
                "price_max_yuan": project.price_max_yuan,
                "reason": sorted(asked & set(project.interests)),
            }
        )
    return items


def project_metrics(context: CallContext, days: int) -> dict[str, Any]:
    """Return per project what was booked, done, cancelled and paid in the last days."""
    with context.session() as session:
        return {"days": days, "projects": business.project_figures(session, utc_now() - timedelta(days=days))}


def _project(session: Session, code: str) -> TreatmentProject:
    project = queries.find_project(session, code)
    if project is None:
        raise NotFoundError("no such project is offered", code="PROJECT_NOT_FOUND")
    return project


def _check_slot(starts_at: datetime) -> None:
    if starts_at.tzinfo is None:
        raise InvalidInputError("starts_at needs a time zone, as in 2026-11-20T10:00:00+08:00")
    now = utc_now()
    if not now < starts_at < now + BOOK_AHEAD:
        raise InvalidInputError(f"starts_at must lie within the next {BOOK_AHEAD.days} days")
    local = starts_at.astimezone(ZoneInfo(queries.LOCAL_ZONE))
    on_the_slot = local.minute % SLOT_MINUTES == 0 and local.second == local.microsecond == 0
    if not OPENS_AT <= local.hour < CLOSES_AT or not on_the_slot:
        raise InvalidInputError(
            f"appointments begin every {SLOT_MINUTES} minutes from {OPENS_AT}:00 to {CLOSES_AT}:00, {queries.LOCAL_ZONE}"
        )


def _described(appointment: Appointment, project: TreatmentProject) -> dict[str, Any]:
    return {
        "appointment_id": str(appointment.id),
        "project_code": project.code,
        "name": project.name,
        "starts_at": appointment.starts_at.astimezone(ZoneInfo(queries.LOCAL_ZONE)).isoformat(),
        "status": appointment.status,
    }
