"""An OpenAI-compatible chat endpoint beside the Dify one: the same apps, latencies and faults in another framing."""

import asyncio
import json
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from simulators.dify import validate
from simulators.dify.app import Endpoint, HungResponse, Simulator, bad_gateway
from simulators.dify.engine import TOOL, Execution
from simulators.dify.faults import BEFORE_RUN
from simulators.dify.mcp_client import without_empty
from simulators.dify.profiles import App
from simulators.dify.runs import McpCall, Run
from simulators.dify.sse import Channel, StreamResponse
from simulators.dify.validate import Refused

_HANDLE = re.compile(r"jrn_[A-Za-z0-9_-]+")
_TAG = re.compile(r"\b(zh|en|ja|ko)(?:[-_](?:CN|TW|HK|Hans|Hant|US|GB|JP|KR))?\b")


def problem(status: int, kind: str, message: str) -> JSONResponse:
    """OpenAI's error body."""
    return JSONResponse({"error": {"message": message, "type": kind, "param": None, "code": kind}}, status)


class ChatCompletion(Execution):
    """Writes a run as chat.completion chunks. It has no MCP; tools are called by the client, as this API has it."""

    def __init__(self, app: App, run: Run, channel: Channel, *, sim: Simulator, body: dict[str, Any]) -> None:
        super().__init__(app, run, channel, mcp=None, rng=sim.rng, scale=sim.scale)
        self.body = body
        self.tool_call: dict[str, Any] | None = None

    def _chunk(self, delta: dict[str, Any], finish: str | None = None, **more: Any) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        self.emit(head(self, "chat.completion.chunk") | {"choices": [choice]} | more)

    def announce(self) -> None:
        self._chunk({"role": "assistant", "content": ""})

    def delta(self, text: str) -> None:
        self._chunk({"content": text})

    def fill_thought(self, thought_id: str, **filled: str) -> None:
        """This API shows no thoughts."""

    def replace(self, *, answer: str, reason: str) -> None:
        """This API has no replacement; a moderated answer ends with finish_reason content_filter."""
        self.run.answer = answer

    async def consult_tool(self) -> McpCall | None:
        """Use the last tool message; without one, ask the client to call the tool when it offers it."""
        messages = self.body["messages"]
        results = [message for message in messages if message.get("role") == "tool"]
        if results:
            call = McpCall(TOOL, {}, text=str(results[-1].get("content") or ""))
            self.run.mcp_calls.append(call)
            return call
        offered = {tool.get("function", {}).get("name") for tool in self.body.get("tools") or []}
        handle = _HANDLE.search(self.run.query)
        if TOOL in offered and handle and "tool_skipped" not in self.faults:
            arguments = json.dumps(without_empty({"user_id": handle.group()}))
            call_id = f"call_{self.run.task_id[:8]}"
            self.tool_call = {"id": call_id, "type": "function", "function": {"name": TOOL, "arguments": arguments}}
        return None

    def compose(self, call: McpCall | None) -> str:
        return "" if self.tool_call is not None else super().compose(call)

    @property
    def finish_reason(self) -> str:
        if self.tool_call is not None:
            return "tool_calls"
        return "content_filter" if "message_replace" in self.faults else "stop"

    def end(self) -> None:
        if "missing_message_end" in self.faults:
            self.run.outcome = "no_end"
            return
        if self.tool_call is not None:
            self._chunk({"tool_calls": [{"index": 0} | self.tool_call]})
        self._chunk({}, self.finish_reason)
        if (self.body.get("stream_options") or {}).get("include_usage"):
            self.emit(head(self, "chat.completion.chunk") | {"choices": [], "usage": usage(self.run)})
        self.emit_raw(b"data: [DONE]\n\n")

    def fail(self, error: dict[str, Any]) -> None:
        self.emit({"error": {"message": error["message"], "type": error["code"], "param": None, "code": error["code"]}})


def head(execution: ChatCompletion, kind: str) -> dict[str, Any]:
    run = execution.run
    return {
        "id": f"chatcmpl-{run.message_id}",
        "object": kind,
        "created": run.created_at,
        "model": str(execution.body.get("model") or "simulated"),
    }


def usage(run: Run) -> dict[str, int]:
    spent = run.prompt_tokens + run.completion_tokens
    return {"prompt_tokens": run.prompt_tokens, "completion_tokens": run.completion_tokens, "total_tokens": spent}


def _refusal(run: Run) -> Response | None:
    kind = next((kind for kind in run.faults if kind in BEFORE_RUN), None)
    if kind is None:
        return None
    if kind == "non_json_502":
        return bad_gateway()
    if kind == "rate_limit_error":
        return problem(429, "insufficient_quota", "You exceeded your current quota, please check your plan.")
    if kind in ("too_many_requests_400", "too_many_requests_429"):
        return problem(429, "rate_limit_exceeded", "Rate limit reached for requests. Please try again in 1s.")
    fault = run.faults[kind]
    return problem(int(fault["status"]), str(fault["code"]), str(fault["message"]))


def _new_run(sim: Simulator, app: App, body: dict[str, Any]) -> Run:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise validate.invalid_param("'messages' must be a non-empty array of objects")
    text = "\n".join(str(message.get("content") or "") for message in messages)
    user = str(body.get("user") or "")
    found = _TAG.search(text)
    inputs = {"locale": found.group()} if found else {"locale": _language_of(text)}
    mode = "streaming" if body.get("stream") else "blocking"
    return Run(app.key, "openai", user, inputs, text, mode, "", sim.draw_faults(app, user))


def _language_of(text: str) -> str:
    """Answer in the language one was spoken to, judged by its script."""
    scripts = (("ja", r"[\u3040-\u30ff]"), ("ko", r"[\uac00-\ud7af]"), ("zh", r"[\u4e00-\u9fff]"))
    return next((language for language, script in scripts if re.search(script, text)), "en")


async def chat_completions(sim: Simulator, request: Request) -> ASGIApp:
    """POST /v1/chat/completions, streaming or not."""
    try:
        app = validate.app_for(request, sim.apps)
        body = await validate.json_object(request)
        run = _new_run(sim, app, body)
    except Refused as refused:
        kind = "invalid_api_key" if refused.status in (401, 403) else "invalid_request_error"
        return problem(refused.status, kind, refused.message)
    if (answer := _refusal(run)) is not None:
        sim.log.refuse(run, "refused")
        return answer
    if "hung_headers" in run.faults:
        return HungResponse(sim, run, lambda: _answer(sim, app, run, body))
    return await _answer(sim, app, run, body)


async def _answer(sim: Simulator, app: App, run: Run, body: dict[str, Any]) -> ASGIApp:
    # This API sends no pings.
    channel = Channel(ping_seconds=None)
    execution = ChatCompletion(app, run, channel, sim=sim, body=body)
    task = sim.spawn(run, execution)
    if run.response_mode == "streaming":
        return StreamResponse(channel, lambda: sim.log.hang_up(run))
    channel.abandon()
    await asyncio.shield(task)
    if run.error is not None:
        return problem(run.error["status"], run.error["code"], run.error["message"])
    if run.outcome != "succeeded":
        return bad_gateway(504)
    message: dict[str, Any] = {"role": "assistant", "content": run.answer}
    if execution.tool_call is not None:
        message = {"role": "assistant", "content": None, "tool_calls": [execution.tool_call]}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": execution.finish_reason}
    return JSONResponse(head(execution, "chat.completion") | {"choices": [choice], "usage": usage(run)})


async def models(sim: Simulator, request: Request) -> Response:
    """GET /v1/models: enough for a client that checks its key."""
    try:
        validate.app_for(request, sim.apps)
    except Refused as refused:
        return problem(refused.status, "invalid_api_key", refused.message)
    return JSONResponse({"object": "list", "data": [{"id": "simulated", "object": "model", "owned_by": "simulator"}]})


def openai_routes(sim: Simulator) -> list[Route]:
    """The routes of the OpenAI-compatible side."""
    return [
        Route("/v1/chat/completions", Endpoint(lambda request: chat_completions(sim, request)), methods=["POST"]),
        Route("/v1/models", Endpoint(lambda request: models(sim, request)), methods=["GET"]),
    ]
