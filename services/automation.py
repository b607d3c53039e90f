"""The automation's settings: their types and defaults, and how every process reads and changes them."""

from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from models import Channel, RungAction
from services.gateway import templates
from services.gateway.settings import GatewaySettings
from services.retention import RetentionSettings
from services.rollout import RolloutSettings
from services.settings_family import SettingsFamily, Versioned
from services.working_hours import WorkingHours

NAME = "registration-automation"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WelcomeStrategy(StrEnum):
    AGENT_THEN_TEMPLATE = "agent_then_template"
    AGENT_ONLY = "agent_only"
    TEMPLATE_ONLY = "template_only"


class LateAnswer(StrEnum):
    """What becomes of an agent's answer after the template went out."""

    APPEND = "append"
    DROP = "drop"


class RetryPolicy(_Part):
    """How often and after which delays a failed step is tried again; the last delay serves any further retry."""

    max_retries: Annotated[int, Field(ge=0, le=20)] = 3
    delays_seconds: Annotated[tuple[Annotated[float, Field(ge=0, le=86_400)], ...], Field(min_length=1)] = (5, 15, 60)
    # Up to this share is added to a delay, never taken away: nothing is retried faster than its policy says.
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.2


class ConversationSettings(_Part):
    title: Annotated[str, Field(min_length=1, max_length=200)] = "新客户咨询"
    tags: tuple[str, ...] = ("新客户",)
    owner: str = "general_ai"


class Assignment(StrEnum):
    """Which of the consultants who are online are told of a new customer."""

    ALL_ONLINE = "all_online"
    # The few who fit best: language, skills, then chance weighted by how little they have to do.
    BEST_MATCH = "best_match"


class NotificationTexts(_Part):
    """A push in one language. {username}, {interests}, {source}, {minutes} and {link} are filled in."""

    title: Annotated[str, Field(min_length=1, max_length=200)]
    body: Annotated[str, Field(min_length=1, max_length=1000)]


class NotificationSettings(_Part):
    enabled: bool = True
    # In the order they are tried: a consultant's next one has its turn when no receipt came in time.
    channels: Annotated[tuple[Channel, ...], Field(min_length=1)] = (Channel.WEBSOCKET, Channel.PUSH)
    receipt_seconds: Annotated[float, Field(ge=1, le=3600)] = 15
    assignment: Assignment = Assignment.ALL_ONLINE
    # With best_match; more are told when nobody reacts (see escalation).
    told_at_most: Annotated[int, Field(ge=1, le=1000)] = 3
    # Of everybody who has none of their own.
    working_hours: WorkingHours = WorkingHours()
    title: str = "新客户注册"
    message: str = "有新客户注册，请及时响应"
    push_title: str = "新客户等待服务"
    push_body: str = "有新客户注册，请及时响应"
    # By the consultant's locale or its language; who has none of these gets push_title and push_body.
    push_texts: dict[str, NotificationTexts] = Field(
        default_factory=lambda: {
            "en": NotificationTexts(
                title="A new customer is waiting",
                body="A customer has registered; please respond within {minutes} minutes",
            )
        }
    )
    # What links in pushes begin with, such as https://anmei.example.com.
    public_url: Annotated[str, Field(max_length=200, pattern=r"^(https?://[^\s/]+[^\s]*)?$")] = ""
    # Whom a browser's push service may ask about our pushes (RFC 8292): mailto: or https:.
    webpush_contact: Annotated[str, Field(pattern=r"^(mailto:|https://)\S+$")] = "mailto:push@example.com"
    expected_response_minutes: Annotated[int, Field(ge=1, le=1440)] = 5

    @field_validator("channels")
    @classmethod
    def _in_order(cls, channels: tuple[Channel, ...]) -> tuple[Channel, ...]:
        if len(set(channels)) < len(channels):
            raise ValueError("a channel is named twice")
        if channels == (Channel.PUSH, Channel.WEBSOCKET):
            raise ValueError("a push has no receipt that could be missing, so nothing can follow it")
        return channels


class Rung(_Part):
    """One rung of the ladder: what is done when the customer has waited so long, in working time."""

    action: RungAction
    after_minutes: Annotated[float, Field(gt=0, le=7 * 24 * 60)]


class EscalationSettings(_Part):
    """What happens while nobody takes a customer. The ladder stops as soon as somebody does."""

    enabled: bool = True
    # Outside the working hours of the settings the ladder stands still.
    working_hours_only: bool = True
    # A further reassign moves on from a consultant who was given the customer and has not replied.
    ladder: Annotated[tuple[Rung, ...], Field(min_length=1, max_length=20)] = (
        Rung(action=RungAction.REMIND, after_minutes=3),
        Rung(action=RungAction.WIDEN, after_minutes=6),
        Rung(action=RungAction.SUPERVISOR, after_minutes=10),
        Rung(action=RungAction.REASSIGN, after_minutes=15),
        Rung(action=RungAction.REASSIGN, after_minutes=25),
        Rung(action=RungAction.REASSIGN, after_minutes=35),
    )

    @field_validator("ladder")
    @classmethod
    def _ascends(cls, ladder: tuple[Rung, ...]) -> tuple[Rung, ...]:
        minutes = [rung.after_minutes for rung in ladder]
        if any(later <= earlier for earlier, later in pairwise(minutes)):
            raise ValueError("every rung comes later than the one before")
        return ladder


class AlertSettings(_Part):
    # One alert for troubles of a kind, then silence this long; what came meanwhile is told together.
    quiet_minutes: Annotated[float, Field(ge=0, le=1440)] = 10


class IntakeSettings(_Part):
    rate_limit_per_second: Annotated[int, Field(ge=1, le=100_000)] = 1000


class AutomationSettings(_Part):
    """Everything an administrator may change about the registration automation."""

    enabled: bool = True
    welcome_strategy: WelcomeStrategy = WelcomeStrategy.AGENT_THEN_TEMPLATE
    # Counted from acceptance; by then the customer has a greeting, whoever wrote it.
    welcome_deadline_ms: Annotated[int, Field(ge=500, le=60_000)] = 3000
    late_answer: LateAnswer = LateAnswer.APPEND
    rollout: RolloutSettings = RolloutSettings()
    retry: RetryPolicy = RetryPolicy()
    conversation: ConversationSettings = ConversationSettings()
    notification: NotificationSettings = NotificationSettings()
    escalation: EscalationSettings = EscalationSettings()
    alerts: AlertSettings = AlertSettings()
    intake: IntakeSettings = IntakeSettings()
    retention: RetentionSettings = RetentionSettings()
    gateway: GatewaySettings = GatewaySettings()


FAMILY = SettingsFamily(NAME, AutomationSettings)


def current() -> AutomationSettings:
    """Return the settings in force in this process; a change elsewhere arrives within a second."""
    return FAMILY.current()


def current_version() -> int:
    """Return the version this process runs."""
    return FAMILY.current_version()


def change(values: dict[str, Any], *, actor: str, reason: str | None = None) -> Versioned[AutomationSettings]:
    """Write a new version and return it; see SettingsFamily.change."""
    return FAMILY.change(values, actor=actor, reason=reason)


def template_for(username: str, locale: str | None, settings: AutomationSettings) -> str:
    """Return the template of the customer's locale, else of its language, else zh-CN, with the customer's name in it."""
    return templates.render(settings.gateway.templates.by_locale, locale, {"username": username}).text
