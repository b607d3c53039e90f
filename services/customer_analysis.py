"""What the record says about a customer (requirement A4.5): facts read once, everything else computed from them by rule."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from core.clock import utc_now
from models import AppointmentStatus, SenderType, TreatmentProject, User
from queries import customer_records as queries
from services.mcp_work import CallContext
from services.profiles import primary_role

VIP_PAID_YUAN = 20_000
RECENT = timedelta(days=7)
DORMANT = timedelta(days=90)
# Without a sign of life a customer is held for half as likely to come back after so many days.
HALF_LIFE_DAYS_TREATED, HALF_LIFE_DAYS_OTHER = 60.0, 30.0
# Of those who book, the share that is counted on to come, before a customer's own history says otherwise.
DEFAULT_SHOW_RATE = 0.8
MAX_RECOMMENDATIONS = 3


class AnalysisType(StrEnum):
    BASIC = "basic"
    DETAILED = "detailed"
    PREDICTIVE = "predictive"


@dataclass(frozen=True)
class Facts:
    """Everything an analysis is computed from."""

    now: datetime
    registered_at: datetime
    role: str
    locale: str | None
    source: str | None
    interests: list[str]
    messages: dict[str, int]
    message_hours: dict[int, int]
    last_message_at: datetime | None
    conversations: int
    consultations: int
    appointments: dict[str, int]
    # Prices (midpoints, yuan) of what is booked and still to come.
    upcoming_yuan: list[float]
    treatments: int
    paid_yuan: int
    reactions: list[str]
    last_treatment_at: datetime | None
    treated_codes: set[str] = field(default_factory=set)

    @property
    def last_activity_at(self) -> datetime:
        return max(at for at in (self.registered_at, self.last_message_at, self.last_treatment_at) if at is not None)

    @property
    def idle_days(self) -> float:
        return max(0.0, (self.now - self.last_activity_at) / timedelta(days=1))


def analyze_customer(context: CallContext, user_id: str, analysis_type: AnalysisType) -> dict[str, Any]:
    """Return the analysis of the user the handle or id names; raise NotFoundError (USER_NOT_FOUND)."""
    with context.session() as session:
        user = context.user(session, user_id)
        facts = _read(session, user)
        projects = queries.list_projects(session)
    return {"user_id": user_id, "analysis_type": analysis_type.value} | analyse(facts, projects, analysis_type)


def analyse(facts: Facts, projects: list[TreatmentProject], analysis_type: AnalysisType) -> dict[str, Any]:
    """Compute the analysis; each further type adds to the one before."""
    suggestions = recommendations(facts, projects)
    result: dict[str, Any] = {
        "customer_segment": segment(facts),
        "behavior_pattern": behaviour(facts),
        "engagement_level": engagement(facts),
        "recommendations": suggestions,
    }
    if analysis_type is not AnalysisType.BASIC:
        result |= {
            "risk_profile": risk(facts),
            "lifetime_value_prediction": lifetime_value(facts),
            "churn_probability": churn(facts),
        }
    if analysis_type is AnalysisType.PREDICTIVE:
        result |= {
            "next_best_action": next_action(facts, suggestions),
            "optimal_contact_time": contact_time(facts),
            "personalization_strategy": personalisation(facts, suggestions),
        }
    return result


def segment(facts: Facts) -> str:
    """Return vip, active_customer, prospect, new_registration, dormant or lead: the first that fits."""
    if facts.paid_yuan >= VIP_PAID_YUAN:
        return "vip"
    if facts.treatments:
        return "active_customer" if facts.idle_days <= DORMANT.days else "dormant"
    if sum(facts.appointments.values()) or facts.consultations or facts.messages.get(SenderType.CUSTOMER, 0) >= 3:
        return "prospect" if facts.idle_days <= DORMANT.days else "dormant"
    if facts.now - facts.registered_at < RECENT:
        return "new_registration"
    return "dormant" if facts.idle_days > DORMANT.days else "lead"


def behaviour(facts: Facts) -> dict[str, Any]:
    """Return what the customer did, in numbers."""
    busiest = sorted(facts.message_hours, key=lambda hour: (-facts.message_hours[hour], hour))[:3]
    return {
        "interests": facts.interests,
        "source": facts.source,
        "conversations": facts.conversations,
        "messages_written": facts.messages.get(SenderType.CUSTOMER, 0),
        "consultations": facts.consultations,
        "appointments": facts.appointments,
        "treatments": facts.treatments,
        "paid_yuan": facts.paid_yuan,
        "days_since_last_activity": round(facts.idle_days, 1),
        "busiest_hours": busiest,
    }


def engagement(facts: Facts) -> str:
    """Return high, medium or low: points for writing, booking, being treated, and recent activity."""
    written = facts.messages.get(SenderType.CUSTOMER, 0)
    points = (2 if written >= 5 else 1 if written else 0) + (2 if facts.appointments.get("booked") else 0)
    points += (2 if facts.treatments else 0) + (1 if facts.idle_days < RECENT.days else 0)
    return "high" if points >= 4 else "medium" if points >= 2 else "low"


def recommendations(facts: Facts, projects: list[TreatmentProject]) -> list[dict[str, Any]]:
    """Return offered projects that answer the customer's interests and are not had yet, cheapest first."""
    wanted = set(facts.interests)
    fitting = [
        project for project in projects if wanted & set(project.interests) and project.code not in facts.treated_codes
    ]
    fitting.sort(key=lambda project: (project.price_min_yuan, project.code))
    return [
        {
            "project_code": project.code,
            "name": project.name,
            "price_min_yuan": project.price_min_yuan,
            "price_max_yuan": project.price_max_yuan,
            "because_of_interests": sorted(wanted & set(project.interests)),
        }
        for project in fitting[:MAX_RECOMMENDATIONS]
    ]


def risk(facts: Facts) -> dict[str, Any]:
    """Return the level with its reasons: medical reactions on record, and a habit of cancelling."""
    reasons = [f"reacted with: {reaction}" for reaction in facts.reactions]
    cancelled = facts.appointments.get(AppointmentStatus.CANCELLED, 0)
    if cancelled >= 2:
        reasons.append(f"cancelled {cancelled} appointments")
    return {"level": "high" if facts.reactions else "medium" if reasons else "low", "reasons": reasons}


def lifetime_value(facts: Facts) -> dict[str, Any]:
    """Return paid so far plus what is booked, weighted by how often this customer came."""
    done = facts.appointments.get(AppointmentStatus.DONE, 0)
    cancelled = facts.appointments.get(AppointmentStatus.CANCELLED, 0)
    show_rate = done / (done + cancelled) if done + cancelled >= 3 else DEFAULT_SHOW_RATE
    expected = sum(facts.upcoming_yuan) * show_rate
    return {
        "yuan": round(facts.paid_yuan + expected),
        "paid_yuan": facts.paid_yuan,
        "expected_yuan": round(expected),
        "show_rate": round(show_rate, 2),
    }


def churn(facts: Facts) -> float:
    """Return a probability: it grows with the idle time, slower for who was treated, and halves with a booking ahead."""
    half_life = HALF_LIFE_DAYS_TREATED if facts.treatments else HALF_LIFE_DAYS_OTHER
    probability: float = 1 - 0.5 ** (facts.idle_days / half_life)
    return round(probability / 2 if facts.upcoming_yuan else probability, 3)


def next_action(facts: Facts, suggestions: list[dict[str, Any]]) -> str:
    """Return the one thing to do next."""
    if facts.upcoming_yuan:
        return "confirm_appointment"
    if facts.reactions:
        return "doctor_follow_up"
    if facts.treatments:
        return "after_care_follow_up"
    if not facts.interests:
        return "ask_for_interests"
    return f"offer_consultation:{suggestions[0]['project_code']}" if suggestions else "offer_consultation"


def contact_time(facts: Facts) -> dict[str, Any]:
    """Return the local hour the customer writes most in; the hour of registration where nothing was written yet."""
    if facts.message_hours:
        hour = min(facts.message_hours, key=lambda at: (-facts.message_hours[at], at))
        return {"hour": hour, "time_zone": queries.LOCAL_ZONE, "basis": "messages"}
    local = facts.registered_at.astimezone(ZoneInfo(queries.LOCAL_ZONE))
    return {"hour": local.hour, "time_zone": queries.LOCAL_ZONE, "basis": "registration"}


def personalisation(facts: Facts, suggestions: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how to speak with the customer, and about what."""
    tones = {"vip": "personal", "active_customer": "personal", "dormant": "gentle"}
    return {
        "locale": facts.locale or "zh-CN",
        "tone": tones.get(segment(facts), "welcoming"),
        "topics": [suggestion["name"] for suggestion in suggestions] or facts.interests,
        "mention_source": facts.source,
        "avoid": ["prices"] if segment(facts) == "new_registration" else [],
    }


def _read(session: Any, user: User) -> Facts:
    now = utc_now()
    appointments: dict[str, int] = {}
    upcoming: list[float] = []
    for appointment, project in queries.list_appointments(session, user.id):
        appointments[appointment.status] = appointments.get(appointment.status, 0) + 1
        if appointment.status == AppointmentStatus.BOOKED and appointment.starts_at > now:
            upcoming.append((project.price_min_yuan + project.price_max_yuan) / 2)
    treatments = queries.list_treatments(session, user.id)
    return Facts(
        now=now,
        registered_at=user.registered_at,
        role=primary_role(user),
        locale=user.locale,
        source=user.source,
        interests=user.interests,
        messages=queries.message_counts(session, user.id),
        message_hours=queries.message_hours(session, user.id),
        last_message_at=queries.last_message_at(session, user.id),
        conversations=len(queries.list_conversations(session, user.id, 1000)),
        consultations=len(queries.list_consultations(session, user.id, 1000)),
        appointments=appointments,
        upcoming_yuan=upcoming,
        treatments=len(treatments),
        paid_yuan=sum(record.paid_yuan for record, _ in treatments),
        reactions=sorted({reaction for record, _ in treatments for reaction in record.reactions}),
        last_treatment_at=treatments[0][0].performed_at if treatments else None,
        treated_codes={project.code for _, project in treatments},
    )
