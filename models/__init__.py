"""Tables only, one file per aggregate."""

from models.agents import Agent, AgentCall, CallStatus
from models.alerts import Alert, AlertChannel, AlertStatus
from models.base import Base
from models.conversations import Conversation, Message, SenderType, WelcomeSource
from models.figures import FigurePending, FigureSource, FigureTotal, WebhookOutcome, WorkerHeartbeat
from models.journeys import (
    AttemptOutcome,
    DeadLetter,
    DeadLetterStatus,
    Journey,
    JourneyKind,
    JourneyStatus,
    JourneyStep,
    StepAttempt,
    StepName,
    StepStatus,
)
from models.mcp import CallLog, CallOutcome, CallTotal, HandlerKind, Tool, ToolGroup
from models.notifications import Channel, Notification, NotificationStatus
from models.settings import AuditEntry, SettingsVersion, WebhookReceipt, WebhookSecret
from models.treatments import (
    Appointment,
    AppointmentStatus,
    ConsultationRecord,
    TreatmentPlan,
    TreatmentProject,
    TreatmentRecord,
)
from models.users import Consultant, ConsultantConnection, PushChannel, User

__all__ = [
    "Agent",
    "AgentCall",
    "Alert",
    "AlertChannel",
    "AlertStatus",
    "Appointment",
    "AppointmentStatus",
    "AttemptOutcome",
    "AuditEntry",
    "Base",
    "CallLog",
    "CallOutcome",
    "CallStatus",
    "CallTotal",
    "Channel",
    "Consultant",
    "ConsultantConnection",
    "ConsultationRecord",
    "Conversation",
    "DeadLetter",
    "DeadLetterStatus",
    "FigurePending",
    "FigureSource",
    "FigureTotal",
    "HandlerKind",
    "Journey",
    "JourneyKind",
    "JourneyStatus",
    "JourneyStep",
    "Message",
    "Notification",
    "NotificationStatus",
    "PushChannel",
    "SenderType",
    "SettingsVersion",
    "StepAttempt",
    "StepName",
    "StepStatus",
    "Tool",
    "ToolGroup",
    "TreatmentPlan",
    "TreatmentProject",
    "TreatmentRecord",
    "User",
    "WebhookOutcome",
    "WebhookReceipt",
    "WebhookSecret",
    "WelcomeSource",
    "WorkerHeartbeat",
]
