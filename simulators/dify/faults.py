"""Faults set from outside: which kinds there are, when one fires, and what it carries."""

from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

# Kind -> what it does and its parameters with their defaults.
KINDS: dict[str, dict[str, Any]] = {
    # Before the stream opens.
    "http_error": {
        "status": 500,
        "code": "internal_server_error",
        "message": "The server encountered an internal error.",
    },
    "non_json_502": {},
    "too_many_requests_400": {},
    "too_many_requests_429": {},
    "rate_limit_error": {},
    # Nothing is answered; with seconds the request goes on after them.
    "hung_headers": {"seconds": None},
    # In the stream.
    "error_before_tool": {
        "status": 400,
        "code": "completion_request_error",
        "message": "[openai] Rate Limit Error, Connection error.",
    },
    "error_after_tool": {
        "status": 400,
        "code": "completion_request_error",
        "message": "[openai] Rate Limit Error, Connection error.",
    },
    # at: before_tool, after_tool or answer (half of the text is out).
    "cut_connection": {"at": "answer"},
    "missing_message_end": {},
    "stall_with_pings": {"at": "after_tool", "seconds": 1200.0, "ping_seconds": None},
    "silence": {"at": "before_tool", "seconds": 1200.0},
    "slow_run": {"seconds": 10.0},
    # What Dify does at its execution cap: a normal end with half of the text.
    "partial_answer": {},
    # What the model does with its tool.
    "tool_skipped": {},
    "wrong_user_id": {"user_id": "u-somebody-else"},
    # Obeys text it was given: asks for the first other user id found in the query or the inputs.
    "gullible": {},
    # What the model writes.
    "preamble": {"text": "好的，我先查询一下您的资料。"},
    "empty_answer": {},
    "message_replace": {"answer": "抱歉，这条内容暂时无法显示。", "reason": "output_moderation"},
    "leaked_error_text": {
        "text": "tool invoke error: Traceback (most recent call last):\n"
        '  File "/app/api/core/tools/mcp_tool/tool.py", line 61, in _invoke\n'
        "httpx.ConnectError: [Errno 111] Connection refused"
    },
    "wrong_language": {"locale": None},
    "too_long": {"characters": 20000},
    "medical_claim": {"text": "我们的项目百分之百安全，绝无副作用，保证永久有效。"},
    # Replaces the text altogether, for whatever a guard should be shown.
    "answer_text": {"text": ""},
}
BEFORE_RUN = frozenset(
    {"http_error", "non_json_502", "too_many_requests_400", "too_many_requests_429", "rate_limit_error"}
)

_CONTROL_FIELDS = frozenset({"kind", "count", "probability", "app_key", "user"})


@dataclass(slots=True)
class FaultRule:
    """Fires for matching requests, at most ``remaining`` times (None: until removed)."""

    id: int
    kind: str
    params: dict[str, Any]
    remaining: int | None = None
    probability: float = 1.0
    app_key: str | None = None
    user: str | None = None
    fired: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "remaining": self.remaining,
            "probability": self.probability,
            "app_key": self.app_key,
            "user": self.user,
            "fired": self.fired,
            "params": self.params,
        }


@dataclass(slots=True)
class FaultRegistry:
    """All rules, oldest first. Several may fire for one request; of one kind the oldest wins."""

    rng: Random
    rules: list[FaultRule] = field(default_factory=list)
    _ids: "count[int]" = field(default_factory=lambda: count(1))

    def add(self, spec: dict[str, Any]) -> FaultRule:
        """Add a rule from ``{"kind", "count"?, "probability"?, "app_key"?, "user"?, …parameters}``; ValueError if wrong."""
        kind = spec.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r}, one of {', '.join(sorted(KINDS))}")
        given = {name: value for name, value in spec.items() if name not in _CONTROL_FIELDS}
        if unknown := sorted(set(given) - set(KINDS[kind])):
            raise ValueError(
                f"{kind} takes no {', '.join(unknown)}; its parameters: {', '.join(KINDS[kind]) or 'none'}"
            )
        times, probability = spec.get("count"), spec.get("probability", 1.0)
        if times is not None and (not isinstance(times, int) or times < 1):
            raise ValueError("count is a whole number above 0, or null for no limit")
        if not isinstance(probability, int | float) or not 0 <= probability <= 1:
            raise ValueError("probability lies between 0 and 1")
        rule = FaultRule(
            next(self._ids), kind, KINDS[kind] | given, times, float(probability), spec.get("app_key"), spec.get("user")
        )
        self.rules.append(rule)
        return rule

    def draw(self, app_key: str, user: str) -> dict[str, dict[str, Any]]:
        """Return the parameters of every fault that hits this request, by kind, and count them."""
        hits: dict[str, dict[str, Any]] = {}
        for rule in self.rules:
            if rule.kind in hits or rule.remaining == 0:
                continue
            if rule.app_key not in (None, app_key) or rule.user not in (None, user):
                continue
            if rule.probability < 1 and self.rng.random() >= rule.probability:
                continue
            rule.fired += 1
            if rule.remaining is not None:
                rule.remaining -= 1
            hits[rule.kind] = rule.params
        return hits

    def clear(self, rule_id: int | None = None) -> int:
        """Remove one rule or all of them; return how many went."""
        before = len(self.rules)
        self.rules = [] if rule_id is None else [rule for rule in self.rules if rule.id != rule_id]
        return before - len(self.rules)
