"""The automation's settings: their types and defaults, and how every process reads and changes them."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from services.gateway import templates
from services.gateway.settings import GatewaySettings
from services.settings_family import SettingsFamily, Versioned

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


class NotificationSettings(_Part):
    enabled: bool = True
    title: str = "新客户注册"
    message: str = "有新客户注册，请及时响应"
    push_title: str = "新客户等待服务"
    push_body: str = "有新客户注册，请及时响应"
    expected_response_minutes: Annotated[int, Field(ge=1, le=1440)] = 5


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
    retry: RetryPolicy = RetryPolicy()
    conversation: ConversationSettings = ConversationSettings()
    notification: NotificationSettings = NotificationSettings()
    alerts: AlertSettings = AlertSettings()
    intake: IntakeSettings = IntakeSettings()
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
