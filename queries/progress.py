"""How far the registrations of a stack have come, in one look: for the demo's table and its summary."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Float, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from models import (
    AgentCall,
    CallLog,
    Conversation,
    DeadLetter,
    Escalation,
    Journey,
    JourneyStep,
    Message,
    Notification,
    StepAttempt,
)


@dataclass(frozen=True)
class Latency:
    """Milliseconds from acceptance; None while nobody got there."""

    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True)
class Progress:
    """Counts of everything there is in the database."""

    journeys: dict[str, int]
    steps: dict[tuple[str, str], int]
    greeted: dict[str, int]
    notifications: dict[tuple[str, str], int]
    notified: int
    to_conversation: Latency
    to_welcome: Latency

    @property
    def accepted(self) -> int:
        return sum(self.journeys.values())


def read_progress(session: Session) -> Progress:
    """Return how far all journeys have come."""
    journeys = session.execute(select(Journey.status, func.count()).group_by(Journey.status))
    steps = session.execute(
        select(JourneyStep.name, JourneyStep.status, func.count()).group_by(JourneyStep.name, JourneyStep.status)
    )
    greeted = session.execute(
        select(Journey.greeted_by, func.count()).where(Journey.greeted_by.is_not(None)).group_by(Journey.greeted_by)
    )
    notifications = session.execute(
        select(Notification.channel, Notification.status, func.count()).group_by(
            Notification.channel, Notification.status
        )
    )
    notified = session.scalar(select(func.count()).where(Journey.notified_at.is_not(None)))
    return Progress(
        journeys={str(status): count for status, count in journeys},
        steps={(name, status): count for name, status, count in steps},
        greeted={str(source): count for source, count in greeted},
        notifications={(channel, status): count for channel, status, count in notifications},
        notified=notified or 0,
        to_conversation=_latency(session, Journey.conversation_at),
        to_welcome=_latency(session, Journey.greeted_at),
    )


def _latency(session: Session, reached: InstrumentedAttribute[datetime | None]) -> Latency:
    waited_ms: ColumnElement[float] = (func.extract("epoch", reached - Journey.accepted_at) * 1000).cast(Float)
    row = session.execute(
        select(
            func.percentile_cont(0.5).within_group(waited_ms), func.percentile_cont(0.99).within_group(waited_ms)
        ).where(reached.is_not(None))
    ).one()
    return Latency(row[0], row[1])


def find_slowest_journey(session: Session) -> UUID | None:
    """Return the journey greeted by an agent that took longest to be greeted, else any that was greeted."""
    return session.scalars(
        select(Journey.id)
        .where(Journey.greeted_at.is_not(None))
        .order_by((Journey.greeted_by == "agent").desc(), (Journey.greeted_at - Journey.accepted_at).desc())
        .limit(1)
    ).first()


@dataclass(frozen=True)
class Record:
    """Everything the database holds of one journey, each part in its own order."""

    journey: Journey
    attempts: list[StepAttempt]
    agent_calls: list[AgentCall]
    mcp_calls: list[CallLog]
    conversation: Conversation | None
    messages: list[Message]
    notifications: list[Notification]
    dead_letters: list[DeadLetter]
    escalations: list[Escalation]


def get_record(session: Session, journey_id: UUID) -> Record:
    """Return the whole record of a journey; raise sqlalchemy.exc.NoResultFound when there is none."""
    return Record(
        journey=session.get_one(Journey, journey_id),
        attempts=list(
            session.scalars(
                select(StepAttempt).where(StepAttempt.journey_id == journey_id).order_by(StepAttempt.started_at)
            )
        ),
        agent_calls=list(
            session.scalars(select(AgentCall).where(AgentCall.journey_id == journey_id).order_by(AgentCall.started_at))
        ),
        mcp_calls=list(
            session.scalars(select(CallLog).where(CallLog.journey_id == journey_id).order_by(CallLog.created_at))
        ),
        conversation=session.scalars(select(Conversation).where(Conversation.journey_id == journey_id)).one_or_none(),
        messages=list(
            session.scalars(select(Message).where(Message.journey_id == journey_id).order_by(Message.created_at))
        ),
        notifications=list(
            session.scalars(
                select(Notification).where(Notification.journey_id == journey_id).order_by(Notification.created_at)
            )
        ),
        dead_letters=list(
            session.scalars(
                select(DeadLetter).where(DeadLetter.journey_id == journey_id).order_by(DeadLetter.opened_at)
            )
        ),
        escalations=list(
            session.scalars(
                select(Escalation)
                .where(Escalation.journey_id == journey_id)
                .order_by(Escalation.round, Escalation.rung)
            )
        ),
    )
