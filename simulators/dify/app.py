"""The Service API's endpoints; what they start is in ``engine``, what they refuse in ``validate``."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from simulators.dify import events, validate
from simulators.dify.engine import Execution
from simulators.dify.faults import BEFORE_RUN, FaultRegistry
from simulators.dify.mcp_client import McpClient
from simulators.dify.profiles import CHAT_MODES, MODES, App
from simulators.dify.runs import Run, RunLog
from simulators.dify.sse import Channel, StreamResponse
from simulators.dify.validate import Refused

_BAD_GATEWAY = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><center><h1>502 Bad Gateway</h1></center></body></html>"
_TOO_MANY = (
    "Too many requests. Please try again later. The current maximum concurrent requests allowed for this app is 10."
)
_RATE_LIMIT = "Sorry, you have reached the rate limit of your subscription."


class Simulator:
    """Everything the process knows: its apps, faults, runs and the MCP server it was authorised for."""

    def __init__(
        self,
        apps: list[App],
        *,
        seed: int = 7,
        scale: float = 1.0,
        use_mcp: bool = True,
        keep: int = 2000,
        ping: float = 10.0,
    ) -> None:
        self.apps: dict[str, App] = {}
        self._born_faults: dict[str, FaultRegistry] = {}
        self.rng = Random(seed)
        self.scale = scale
        self.ping_seconds = ping
        self.use_mcp = use_mcp
        self.mcp = McpClient()
        self.faults = FaultRegistry(Random(seed + 1))
        self.log = RunLog(keep)
        self._tasks: set[asyncio.Task[None]] = set()
        for app in apps:
            self.add_app(app)

    def add_app(self, app: App) -> None:
        """Serve an app under its key, in place of one that was there. The faults of its profile outlive a reset."""
        self.apps[app.key] = app
        self._born_faults[app.key] = FaultRegistry(self.rng)
        for spec in app.born_faults:
            self._born_faults[app.key].add(dict(spec))

    def draw_faults(self, app: App, user: str) -> dict[str, dict[str, Any]]:
        """The faults that hit one request of this app: its own and those set from outside."""
        return self._born_faults[app.key].draw(app.key, user) | self.faults.draw(app.key, user)

    def new_run(self, app: App, body: dict[str, Any], request: Request) -> Run:
        """Validate in Dify's order and build the run; raises Refused."""
        query = validate.query_of(body, app)
        response_mode = validate.response_mode_of(body, app)
        user = validate.user_of(body)
        inputs = validate.inputs_of(body, app)
        asked = validate.conversation_of(body)
        if asked is not None and (app.key, user, asked) not in self.log.conversations:
            raise Refused(404, "not_found", "Conversation Not Exists.")
        conversation_id = asked or (self.log.new_conversation(app.key, user) if app.mode in CHAT_MODES else "")
        faults = self.draw_faults(app, user)
        trace_id = request.headers.get("x-trace-id")
        run = Run(app.key, app.mode, user, inputs, query, response_mode, conversation_id, faults, trace_id)
        run.traceparent = request.headers.get("traceparent")
        # On unless switched off, for a new conversation: a second model call, for its title.
        run.auto_generate_name = (
            app.mode in CHAT_MODES and asked is None and body.get("auto_generate_name") is not False
        )
        return run

    def begin(self, app: App, run: Run) -> tuple[Channel, asyncio.Task[None]]:
        """Start the run in the background, where it outlives its caller."""
        channel = Channel(ping_seconds=self._ping_seconds(run))
        mcp = self.mcp if self.use_mcp else None
        return channel, self.spawn(run, Execution(app, run, channel, mcp=mcp, rng=self.rng, scale=self.scale))

    def spawn(self, run: Run, execution: Execution) -> "asyncio.Task[None]":
        """Drive the execution in a task that nobody's leaving cancels."""
        self.log.start(run)
        task = asyncio.create_task(execution.drive(self.log))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _ping_seconds(self, run: Run) -> float | None:
        if "silence" in run.faults:
            return None
        stall = run.faults.get("stall_with_pings", {})
        return float(stall.get("ping_seconds") or self.ping_seconds)


def bad_gateway(status: int = 502) -> Response:
    """What a proxy in front of a dead server says: not JSON."""
    return HTMLResponse(_BAD_GATEWAY, status)


def refusal(run: Run) -> Response | None:
    """The answer of a fault that strikes before the stream opens."""
    kind = next((kind for kind in run.faults if kind in BEFORE_RUN), None)
    if kind is None:
        return None
    if kind == "non_json_502":
        return bad_gateway()
    fault = run.faults[kind]
    return {
        "too_many_requests_400": lambda: Refused(400, "invalid_param", _TOO_MANY),
        "too_many_requests_429": lambda: Refused(429, "too_many_requests", _TOO_MANY),
        "rate_limit_error": lambda: Refused(429, "rate_limit_error", _RATE_LIMIT),
        "http_error": lambda: Refused(int(fault["status"]), str(fault["code"]), str(fault["message"])),
    }[kind]().response()


class HungResponse:
    """Sends no headers until the caller leaves or the fault's time is up, then hands over to the real answer."""

    def __init__(self, sim: Simulator, run: Run, then: Callable[[], Awaitable[ASGIApp]]) -> None:
        self._sim, self._run, self._then = sim, run, then

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._run.faults["hung_headers"]["seconds"]):
                while (await receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            answer = await self._then()
            await answer(scope, receive, send)
        else:
            self._sim.log.hang_up(self._run)
            self._sim.log.refuse(self._run, "hung")


async def run_app(sim: Simulator, request: Request, modes: frozenset[str], wrong_mode: str) -> ASGIApp:
    """Serve one message, completion or workflow request."""
    app = validate.app_for(request, sim.apps)
    body = await validate.json_object(request)
    if app.mode not in modes:
        raise Refused(400, wrong_mode, "Please check if your app mode matches the right API route.")
    run = sim.new_run(app, body, request)
    if (refused := refusal(run)) is not None:
        sim.log.refuse(run, "refused")
        return refused
    if "hung_headers" in run.faults:
        return HungResponse(sim, run, lambda: answer_run(sim, app, run))
    return await answer_run(sim, app, run)


async def answer_run(sim: Simulator, app: App, run: Run) -> ASGIApp:
    """Start the run and return its stream, or its result once there is one."""
    channel, task = sim.begin(app, run)
    if run.response_mode == "streaming":
        return StreamResponse(channel, lambda: sim.log.hang_up(run))
    channel.abandon()
    await asyncio.shield(task)
    if run.error is not None and run.mode != "workflow":
        return Refused(run.error["status"], run.error["code"], run.error["message"]).response()
    if run.outcome not in ("succeeded", "stopped", "failed"):
        return bad_gateway(504)
    return JSONResponse(events.blocking_reply(run))


async def stop(sim: Simulator, request: Request, modes: frozenset[str], wrong_mode: str) -> Response:
    """Ask a run to stop; a known app always hears success."""
    app = validate.app_for(request, sim.apps)
    if app.mode not in modes:
        raise Refused(400, wrong_mode, "Please check if your app mode matches the right API route.")
    user = validate.user_of(await validate.json_object(request))
    sim.log.stop(app.key, request.path_params["task_id"], user)
    return JSONResponse({"result": "success"})


async def feedback(sim: Simulator, request: Request) -> Response:
    app = validate.app_for(request, sim.apps)
    body = await validate.json_object(request)
    user = validate.user_of(body)
    rating = body.get("rating")
    if rating not in ("like", "dislike", None):
        raise validate.invalid_param("rating must be one of: like, dislike, null")
    run = sim.log.find_message(app.key, request.path_params["message_id"])
    if run is None or run.user != user:
        raise Refused(404, "not_found", "Message Not Exists.")
    run.feedback = {"rating": rating, "content": body.get("content")}
    sim.log.counters[f"feedback_{rating}"] += 1
    return JSONResponse({"result": "success"})


async def info(sim: Simulator, request: Request) -> Response:
    app = validate.app_for(request, sim.apps)
    about = {"name": app.name, "description": "Welcomes new customers.", "tags": [], "author_name": "AnmeiSmart"}
    return JSONResponse(about | {"mode": MODES[app.mode]})


async def parameters(sim: Simulator, request: Request) -> Response:
    app = validate.app_for(request, sim.apps)
    form = [
        {
            v.kind: {
                "label": v.name,
                "variable": v.name,
                "required": v.required,
                "max_length": v.max_length,
                "default": "",
            }
        }
        for v in app.input_form
    ]
    off = {"enabled": False}
    features = (
        "suggested_questions_after_answer",
        "speech_to_text",
        "text_to_speech",
        "retriever_resource",
        "annotation_reply",
    )
    shown: dict[str, Any] = {"opening_statement": "", "suggested_questions": [], "user_input_form": form}
    shown |= dict.fromkeys((*features, "more_like_this", "sensitive_word_avoidance"), off)
    shown |= {"file_upload": {"image": off}, "system_parameters": {"file_size_limit": 15, "image_file_size_limit": 10}}
    return JSONResponse(shown)


async def meta(sim: Simulator, request: Request) -> Response:
    validate.app_for(request, sim.apps)
    return JSONResponse({"tool_icons": {"get_user_profile": {"background": "#FEF7C3", "content": "🔎"}}})


class Endpoint:
    """Runs a handler as raw ASGI and answers its refusals, so that a handler may return a stream of ours."""

    def __init__(self, handler: Callable[[Request], Awaitable[ASGIApp]]) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: ASGIApp
        try:
            answer = await self._handler(Request(scope, receive))
        except Refused as refused:
            answer = refused.response()
        await answer(scope, receive, send)


def service_routes(sim: Simulator) -> list[Route]:
    """All routes under /v1 that Dify serves."""
    chat, workflow, completion = CHAT_MODES, frozenset({"workflow"}), frozenset({"completion"})

    def post(path: str, handler: Callable[[Request], Awaitable[ASGIApp]]) -> Route:
        return Route(path, Endpoint(handler), methods=["POST"])

    def get(path: str, handler: Callable[[Simulator, Request], Awaitable[ASGIApp]]) -> Route:
        return Route(path, Endpoint(lambda request: handler(sim, request)), methods=["GET"])

    return [
        post("/v1/chat-messages", lambda r: run_app(sim, r, chat, "not_chat_app")),
        post("/v1/chat-messages/{task_id}/stop", lambda r: stop(sim, r, chat, "not_chat_app")),
        post("/v1/completion-messages", lambda r: run_app(sim, r, completion, "app_unavailable")),
        post("/v1/completion-messages/{task_id}/stop", lambda r: stop(sim, r, completion, "app_unavailable")),
        post("/v1/workflows/run", lambda r: run_app(sim, r, workflow, "not_workflow_app")),
        post("/v1/workflows/tasks/{task_id}/stop", lambda r: stop(sim, r, workflow, "not_workflow_app")),
        post("/v1/messages/{message_id}/feedbacks", lambda r: feedback(sim, r)),
        get("/v1/info", info),
        get("/v1/parameters", parameters),
        get("/v1/meta", meta),
    ]
