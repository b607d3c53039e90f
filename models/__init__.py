"""Tables only, one file per aggregate."""

from models.agents import Agent, AgentCall, AgentFeedback, CallStatus, FeedbackStatus, FeedbackVerdict
from models.alerts import Alert, AlertChannel, AlertStatus
from models.auth import AuthSession, LoginFailures, OidcIdentity, RefreshToken, SessionKind
from models.base import Base
from models.claims import Claim, Feedback, ReadMark
from models.conversations import Conversation, Message, SenderType, WelcomeSource
from models.escalations import Escalation, EscalationPush, RungAction, RungStatus
from models.events import Event
from models.figures import FigurePending, FigureSource, FigureTotal, WebhookOutcome, WorkerHeartbeat
from models.gateway import AgentCircuit, AgentVersion, StoredCircuitState, VersionStatus
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
from models.settings import (
    AuditEntry,
    AuditHead,
    RetentionMark,
    SettingsProcess,
    SettingsVersion,
    WebhookReceipt,
    WebhookSecret,
)
from models.treatments import (
    Appointment,
    AppointmentStatus,
    ConsultationRecord,
    TreatmentPlan,
    TreatmentProject,
    TreatmentRecord,
)
from models.users import Consultant, ConsultantConnection, ErasedUser, PushChannel, PushKey, PushKind, User

__all__ = [
    "Agent",
    "AgentCall",
    "AgentCircuit",
    "AgentFeedback",
    "AgentVersion",
    "Alert",
    "AlertChannel",
    "AlertStatus",
    "Appointment",
    "AppointmentStatus",
    "AttemptOutcome",
    "AuditEntry",
    "AuditHead",
    "AuthSession",
    "Base",
    "CallLog",
    "CallOutcome",
    "CallStatus",
    "CallTotal",
    "Channel",
    "Claim",
    "Consultant",
    "ConsultantConnection",
    "ConsultationRecord",
    "Conversation",
    "DeadLetter",
    "DeadLetterStatus",
    "ErasedUser",
    "Escalation",
    "EscalationPush",
    "Event",
    "Feedback",
    "FeedbackStatus",
    "FeedbackVerdict",
    "FigurePending",
    "FigureSource",
    "FigureTotal",
    "HandlerKind",
    "Journey",
    "JourneyKind",
    "JourneyStatus",
    "JourneyStep",
    "LoginFailures",
    "Message",
    "Notification",
    "NotificationStatus",
    "OidcIdentity",
    "PushChannel",
    "PushKey",
    "PushKind",
    "ReadMark",
    "RefreshToken",
    "RetentionMark",
    "RungAction",
    "RungStatus",
    "SenderType",
    "SessionKind",
    "SettingsProcess",
    "SettingsVersion",
    "StepAttempt",
    "StepName",
    "StepStatus",
    "StoredCircuitState",
    "Tool",
    "ToolGroup",
    "TreatmentPlan",
    "TreatmentProject",
    "TreatmentRecord",
    "User",
    "VersionStatus",
    "WebhookOutcome",
    "WebhookReceipt",
    "WebhookSecret",
    "WelcomeSource",
    "WorkerHeartbeat",
]
