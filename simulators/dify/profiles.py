"""What an app key stands for: its mode, its latencies, its style of writing, and the faults it was born with."""

from dataclasses import dataclass
from random import Random
from typing import Any

# Mode on the command line -> the name GET /v1/info reports.
MODES = {
    "agent": "agent-chat",
    "new-agent": "agent",
    "chat": "chat",
    "chatflow": "advanced-chat",
    "workflow": "workflow",
    "completion": "completion",
}
CHAT_MODES = frozenset({"agent", "new-agent", "chat", "chatflow"})
STREAM_ONLY_MODES = frozenset({"agent", "new-agent"})
# A completion or plain chat app has no tools in Dify.
TOOL_MODES = frozenset({"agent", "new-agent", "chatflow", "workflow"})
STYLES = ("plain", "warm", "terse")


@dataclass(frozen=True, slots=True)
class Latency:
    """Ranges in seconds: until the response headers, thinking (half before, half after the tool), writing."""

    accept: tuple[float, float]
    think: tuple[float, float]
    answer: tuple[float, float]

    def draw(self, rng: Random, scale: float) -> tuple[float, float, float]:
        """Return one run's accept, think and answer seconds."""
        if scale == 0:
            return 0.0, 0.0, 0.0
        return rng.uniform(*self.accept) * scale, rng.uniform(*self.think) * scale, rng.uniform(*self.answer) * scale


@dataclass(frozen=True, slots=True)
class Profile:
    """A version of an agent as operators would meet it."""

    latency: Latency
    style: str = "plain"
    faults: tuple[dict[str, Any], ...] = ()


NORMAL = Latency((0.05, 0.3), (0.8, 2.5), (0.5, 2.0))
# Totals between 0.3 and 0.9 s: a demonstration shows the agent's own welcome inside the three-second promise.
QUICK = Latency((0.02, 0.08), (0.13, 0.42), (0.15, 0.4))
SLOW = Latency((0.1, 0.4), (5.0, 8.0), (2.0, 4.0))

PROFILES: dict[str, Profile] = {
    "normal": Profile(NORMAL),
    "quick": Profile(QUICK),
    "slow": Profile(SLOW),
    "warm": Profile(QUICK, style="warm"),
    "terse": Profile(QUICK, style="terse"),
    "flaky": Profile(QUICK, style="warm", faults=({"kind": "http_error", "probability": 0.5},)),
    "mute": Profile(QUICK, faults=({"kind": "empty_answer"},)),
}


@dataclass(frozen=True, slots=True)
class Variable:
    """One field of the app's input form, checked as Dify checks it."""

    name: str
    kind: str = "text-input"
    required: bool = False
    max_length: int = 256


INPUT_FORM = (
    Variable("user_id", required=True),
    Variable("locale", max_length=32),
    Variable("username"),
    Variable("name"),
    Variable("source"),
    Variable("interests", kind="paragraph", max_length=2000),
)


@dataclass(slots=True)
class App:
    """An app behind one key. Disabled apps answer 403, as Dify does when the API is switched off."""

    key: str
    mode: str
    profile_name: str
    latency: Latency
    style: str = "plain"
    name: str = "AnmeiSmart welcome"
    enabled: bool = True
    fixed_latency_ms: float | None = None
    born_faults: tuple[dict[str, Any], ...] = ()
    input_form: tuple[Variable, ...] = INPUT_FORM


def make_app(key: str, *, profile: str = "normal", mode: str = "agent", style: str | None = None) -> App:
    """Build an app from a named profile; raises ValueError naming what is unknown."""
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}, one of {', '.join(PROFILES)}")
    if mode not in MODES:
        raise ValueError(f"unknown mode {mode!r}, one of {', '.join(MODES)}")
    if style is not None and style not in STYLES:
        raise ValueError(f"unknown style {style!r}, one of {', '.join(STYLES)}")
    chosen = PROFILES[profile]
    return App(key, mode, profile, chosen.latency, style or chosen.style, born_faults=chosen.faults)


def parse_app(text: str, *, profile: str, mode: str) -> App:
    """Read ``KEY[:profile[:mode[:style]]]``; missing parts come from the given defaults."""
    parts = text.split(":")
    return make_app(
        parts[0],
        profile=parts[1] if len(parts) > 1 and parts[1] else profile,
        mode=parts[2] if len(parts) > 2 and parts[2] else mode,
        style=parts[3] if len(parts) > 3 and parts[3] else None,
    )
