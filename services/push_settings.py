"""What an administrator may change about pushes: the internal networks they may go to."""

from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from clients.address_guard import Network
from services.settings_family import SettingsFamily

NAME = "push"
LOOPBACK = ("127.0.0.0/8", "::1/128")


def _network(text: str) -> str:
    try:
        return str(ip_network(text.strip()))
    except ValueError:
        raise ValueError("a network is written like 10.1.2.0/24 or fd00:1::/64") from None


class PushSettings(BaseModel):
    """By default pushes go to public addresses only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Networks that are not public and may be pushed to all the same: a chat server or an egress proxy in one's own house.
    internal_networks: Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], Field(max_length=100)] = ()


FAMILY = SettingsFamily(NAME, PushSettings)
current = FAMILY.current
change = FAMILY.change


def allowed_networks() -> tuple[Network, ...]:
    """Return the internal networks that pushes may go to, as they are now."""
    return tuple(ip_network(one) for one in current().internal_networks)


def allow_loopback(*, actor: str) -> None:
    """Let pushes go to this machine, for receivers that run beside us. Idempotent."""
    there = FAMILY.stored().values.internal_networks
    if not set(LOOPBACK) <= set(there):
        change({"internal_networks": [*there, *(one for one in LOOPBACK if one not in there)]}, actor=actor)
