"""The gateway's part of the automation's settings: types, bounds, defaults."""

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from core.errors import InvalidInputError
from services.gateway import templates as template_rules
from services.gateway.defaults import DEFAULT_TEMPLATES, FORBIDDEN_CLAIMS

_HOST = re.compile(r"(?i)[a-z0-9-]+(\.[a-z0-9-]+)+")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GuardSettings(_Part):
    """What an answer must keep to before a customer sees it."""

    max_characters: Annotated[int, Field(ge=50, le=10_000)] = 1200
    # Compared without case, blanks and punctuation, so "100 % 安全" is "100%安全".
    forbidden_phrases: Annotated[
        tuple[Annotated[str, Field(min_length=2, max_length=100)], ...], Field(max_length=500)
    ] = FORBIDDEN_CLAIMS
    check_language: bool = True
    # A model cut short ends in the middle of a sentence; nothing else tells it from a whole answer.
    require_ending: bool = True
    # E-mail addresses, telephone numbers and hosts of ours that an answer may name.
    allowed_contacts: Annotated[tuple[Annotated[str, Field(max_length=100)], ...], Field(max_length=100)] = ()
    allowed_hosts: Annotated[tuple[Annotated[str, Field(max_length=253)], ...], Field(max_length=100)] = ()

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not _HOST.fullmatch(host):
                raise ValueError(f"{host!r} is no host name")
        return hosts


class TemplateSettings(_Part):
    """Welcome templates by locale; see services.gateway.templates for their language."""

    by_locale: Annotated[
        dict[
            Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,2}$")],
            Annotated[str, Field(min_length=1, max_length=template_rules.MAX_TEMPLATE_CHARACTERS)],
        ],
        Field(max_length=50),
    ] = Field(default_factory=lambda: dict(DEFAULT_TEMPLATES))

    @field_validator("by_locale")
    @classmethod
    def _render(cls, by_locale: dict[str, str]) -> dict[str, str]:
        if template_rules.FALLBACK_LOCALE not in by_locale:
            raise ValueError(
                f"a template for {template_rules.FALLBACK_LOCALE} is needed: it serves every locale without one"
            )
        for locale, source in by_locale.items():
            try:
                template_rules.check(source)
            except InvalidInputError as error:
                raise ValueError(f"{locale}: {error.message}") from None
        return by_locale


class BreakerSettings(_Part):
    """When a version's circuit opens, and how it closes again."""

    consecutive_failures: Annotated[int, Field(ge=1, le=1000)] = 5
    # Within the window, so many calls at least, and this share of them failed.
    window_seconds: Annotated[float, Field(ge=1, le=3600)] = 60
    min_calls: Annotated[int, Field(ge=1, le=10_000)] = 10
    failure_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    open_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 15
    # Each failed probe doubles the time it stays open, up to this.
    max_open_seconds: Annotated[float, Field(ge=0.1, le=86_400)] = 300
    # Calls let through at once while half-open, and how many must succeed in a row.
    probes: Annotated[int, Field(ge=1, le=100)] = 2
    successes_to_close: Annotated[int, Field(ge=1, le=100)] = 3
    # A probe that was claimed and never reported (its process died) is forgotten after this.
    probe_seconds: Annotated[float, Field(ge=1, le=3600)] = 90


class CanarySettings(_Part):
    """When a canary counts as clearly worse than the version it is measured against."""

    min_calls: Annotated[int, Field(ge=5, le=100_000)] = 20
    window_hours: Annotated[float, Field(gt=0, le=720)] = 24
    # Both intervals at this many standard errors must be apart. 2.58 is 99 %: a canary is judged again and again, and each
    # time is another chance to be wrong.
    z: Annotated[float, Field(ge=1, le=5)] = 2.58
    # A broken canary's circuit keeps it from ever reaching its minimum of calls; opening so often in a row is enough.
    max_circuit_openings: Annotated[int, Field(ge=1, le=100)] = 3
    # Used as the baseline's error share while it has too few calls of its own.
    max_error_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    # How many times slower at the median is too slow, and never for less than the milliseconds.
    latency_factor: Annotated[float, Field(ge=1, le=100)] = 1.5
    latency_margin_ms: Annotated[int, Field(ge=0, le=60_000)] = 300
    min_ratings: Annotated[int, Field(ge=5, le=100_000)] = 20


class GatewaySettings(_Part):
    """All of the gateway's settings."""

    guard: GuardSettings = GuardSettings()
    templates: TemplateSettings = TemplateSettings()
    breaker: BreakerSettings = BreakerSettings()
    canary: CanarySettings = CanarySettings()
    # Of one version, over all processes; at the cap the next candidate is asked.
    max_concurrent_calls: Annotated[int, Field(ge=1, le=10_000)] = 500
