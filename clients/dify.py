"""Dify's Service API: chat, agent, chatflow, workflow and completion applications, always streamed."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from clients import agent_stream, http_calls
from clients.agent_errors import AgentError, refused, shown
from clients.agent_loop import AgentLoop
from clients.agent_types import AgentAnswer, AgentInfo, AgentRequest, AgentTarget
from clients.delta_relay import DeltaRelay
from clients.dify_transcript import DifyTranscript

# What GET /v1/info calls an application's mode, in our words.
MODES = {
    "agent-chat": "agent",
    "agent": "new-agent",
    "chat": "chat",
    "advanced-chat": "chatflow",
    "workflow": "workflow",
    "completion": "completion",
}
RATINGS = ("like", "dislike", None)


def _run_path(mode: str) -> str:
    return {"workflow": "/workflows/run", "completion": "/completion-messages"}.get(mode, "/chat-messages")


def _stop_path(mode: str, task_id: str) -> str:
    base = {"workflow": "/workflows/tasks", "completion": "/completion-messages"}.get(mode, "/chat-messages")
    return f"{base}/{task_id}/stop"


def run_body(request: AgentRequest) -> dict[str, Any]:
    """Return the request's JSON. Every welcome is a conversation of its own: none is named, and none is given a title."""
    inputs: dict[str, str] = dict(request.inputs)
    body: dict[str, Any] = {"inputs": inputs, "response_mode": "streaming", "user": request.user}
    if request.target.mode == "workflow":
        # A workflow knows inputs only; one that declares no `query` drops it silently.
        inputs.setdefault("query", request.query)
    elif request.target.mode == "completion":
        inputs.setdefault("query", request.query)
        body["query"] = request.query
    else:
        body |= {"query": request.query, "auto_generate_name": False}
    return body


async def run(loop: AgentLoop, request: AgentRequest, relay: DeltaRelay | None) -> AgentAnswer:
    """Run the application once. Dify knows no idempotency key: a second call is a second paid run."""
    target = request.target

    def refuse(status: int, body: bytes) -> AgentError:
        return refused(status, *http_calls.error_parts(body), target.api_key)

    async def stop(task_id: str) -> None:
        url = http_calls.endpoint(target.base_url, _stop_path(target.mode, task_id))
        await http_calls.call(loop, "POST", url, target.api_key, {"user": request.user})

    call = agent_stream.StreamCall(
        url=http_calls.endpoint(target.base_url, _run_path(target.mode)),
        headers=http_calls.headers(target.api_key, request.trace_id, request.traceparent),
        body=orjson.dumps(run_body(request)),
        key=target.api_key,
        transcript=DifyTranscript(target.mode, target.api_key),
        refuse=refuse,
        stop=stop,
    )
    return await agent_stream.run(loop, call, target.timeout_seconds, relay)


async def info(loop: AgentLoop, target: AgentTarget) -> AgentInfo:
    """Return the application's name and mode (GET /v1/info): the cheapest proof that address and key are right."""
    reply = await http_calls.call_json(loop, "GET", http_calls.endpoint(target.base_url, "/info"), target.api_key)
    mode = shown(str(reply.get("mode") or ""), target.api_key)
    return AgentInfo(name=shown(str(reply.get("name") or ""), target.api_key), mode=MODES.get(mode, mode or None))


async def parameters(loop: AgentLoop, target: AgentTarget) -> Mapping[str, Any]:
    """Return the application's parameters (GET /v1/parameters), among them the inputs it declares."""
    return await http_calls.call_json(loop, "GET", http_calls.endpoint(target.base_url, "/parameters"), target.api_key)


async def feedback(
    loop: AgentLoop, target: AgentTarget, *, message_id: str, user: str, rating: str | None, content: str | None
) -> None:
    """Tell Dify how a message was liked; None takes a rating back. `user` must be the run's own."""
    url = http_calls.endpoint(target.base_url, f"/messages/{quote(message_id, safe='')}/feedbacks")
    body = {"user": user, "rating": rating, "content": content}
    await http_calls.call_json(loop, "POST", url, target.api_key, body)
