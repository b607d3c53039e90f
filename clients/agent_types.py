"""What an agent is asked and what it answers, the same for every provider."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr


@dataclass(frozen=True, slots=True)
class AgentTarget:
    """One agent as it is reached. `timeout_seconds` bounds the whole call, from connecting to the last byte.

    `provider` is `dify` or `openai_compatible`; `mode` is Dify's application kind (agent, new-agent, chat, chatflow,
    workflow, completion) and ignored elsewhere; `model` names the model where the provider wants one (not Dify).
    """

    provider: str
    base_url: str
    api_key: SecretStr
    mode: str
    timeout_seconds: float
    model: str = ""


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """One question. `inputs` are strings only: Dify refuses anything else. `user` is the provider's end-user key."""

    target: AgentTarget
    inputs: Mapping[str, str]
    query: str
    user: str
    trace_id: str | None
    # W3C trace context, sent along where traces are on.
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    """The final text, not yet checked by any guard, and what the run cost.

    `usage` is what the provider reported: token counts as ints, prices as decimal strings. `first_token_ms` is None when
    nothing was streamed before the end. `tools` names the tools the agent said it called, in order, each once; whether a
    call really reached us is proved by our own call log alone.
    """

    text: str
    task_id: str | None
    message_id: str | None
    conversation_id: str | None
    usage: dict[str, Any]
    first_token_ms: int | None
    latency_ms: int
    tools: tuple[str, ...]
    # The provider's moderation put this text in place of what the model wrote.
    moderated: bool = False


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """What the provider says the key belongs to. `mode` is in our words, None when the provider has no such thing."""

    name: str
    mode: str | None


@dataclass(frozen=True, slots=True)
class Draft:
    """The part of an answer that is read from the stream."""

    text: str
    message_id: str | None
    conversation_id: str | None
    usage: dict[str, Any]
    tools: tuple[str, ...]
    moderated: bool = False
