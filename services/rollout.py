"""Whom the automation is rolled out to: internal accounts, then a share of users that only grows. Pure."""

import hashlib
from collections.abc import Collection
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# Accounts of the company's own people, as the signup service gives roles.
INTERNAL_ROLES = frozenset({"admin", "operator", "consultant", "doctor"})
# The tool without which an agent cannot know whom it welcomes (requirement A1.3).
PROFILE_TOOL = "get_user_profile"


class SkipReason(StrEnum):
    """Why a registration is recorded and starts no automation; stored with its journey."""

    AUTOMATION_DISABLED = "automation_disabled"
    TOOL_UNAVAILABLE = "tool_unavailable"
    INTERNAL_ONLY = "rollout_internal_only"
    OUTSIDE_ROLLOUT = "outside_rollout"


class RolloutSettings(BaseModel):
    """How far the automation is rolled out. Internal accounts are always in; 0 percent leaves only them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    percent: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 100
    # Besides everybody with a role of staff.
    internal_user_ids: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(max_length=1000)
    ] = ()
    internal_email_domains: Annotated[
        tuple[Annotated[str, Field(max_length=200, pattern=r"^[^@\s]+\.[^@\s]+$")], ...], Field(max_length=100)
    ] = ()
    require_profile_tool: bool = True


def skip_reason(
    settings: RolloutSettings, *, user_id: str, email: str | None, roles: Collection[str]
) -> SkipReason | None:
    """Return why the user is not in the rollout, or None.

    Sticky: the same user gets the same answer while the settings stay, in every process; and monotone: whoever is in at
    some percentage is in at every higher one.
    """
    if settings.percent >= 100 or is_internal(settings, user_id=user_id, email=email, roles=roles):
        return None
    if settings.percent <= 0:
        return SkipReason.INTERNAL_ONLY
    return None if place_of(user_id) < settings.percent else SkipReason.OUTSIDE_ROLLOUT


def is_internal(settings: RolloutSettings, *, user_id: str, email: str | None, roles: Collection[str]) -> bool:
    """Tell whether this is an account of the company's own."""
    if not INTERNAL_ROLES.isdisjoint(roles) or user_id in settings.internal_user_ids:
        return True
    domain = (email or "").rpartition("@")[2].casefold()
    return any(domain == one.casefold() for one in settings.internal_email_domains)


def place_of(user_id: str) -> float:
    """Return the user's place, at least 0 and below 100: uniform over users and fixed for ever on every machine."""
    # The salt keeps it independent of the shares agents' versions and canaries are drawn by.
    digest = hashlib.blake2b(f"rollout\x00{user_id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53) * 100
