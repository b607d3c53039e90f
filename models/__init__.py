"""Tables only, one file per aggregate."""

from models.agents import Agent, AgentCall, CallStatus
from models.base import Base
from models.conversations import Conversation, Message, SenderType, WelcomeSource
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
from models.notifications import Channel, Notification, NotificationStatus
from models.settings import AuditEntry, SettingsVersion, WebhookReceipt, WebhookSecret
from models.users import Consultant, ConsultantConnection, PushChannel, User

__all__ = [
    "Agent",
    "AgentCall",
    "AttemptOutcome",
    "AuditEntry",
    "Base",
    "CallStatus",
    "Channel",
    "Consultant",
    "ConsultantConnection",
    "Conversation",
    "DeadLetter",
    "DeadLetterStatus",
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
    "User",
    "WebhookReceipt",
    "WebhookSecret",
    "WelcomeSource",
]
