"""One run of an app: accept, think, call the tool, write, end; with whatever faults were drawn for it."""

import asyncio
import json
from random import Random
from typing import Any
from uuid import uuid4

from simulators.dify import answers, events
from simulators.dify.mcp_client import McpClient
from simulators.dify.profiles import TOOL_MODES, App
from simulators.dify.runs import McpCall, Run, RunLog, RunStopped
from simulators.dify.sse import Channel, frame

TOOL = "get_user_profile"
# About one delta in this many characters, as providers stream.
_CHARACTERS_PER_DELTA = 4
_MOST_DELTAS = 25


class _RunBroken(Exception):
    """The stream ends here, without its terminal event; ``cut`` breaks the connection as well."""

    def __init__(self, outcome: str, *, cut: bool = False) -> None:
        super().__init__(outcome)
        self.outcome, self.cut = outcome, cut


class _RunFailed(Exception):
    """The run fails with an error event."""

    def __init__(self, fault: dict[str, Any]) -> None:
        super().__init__(fault["message"])
        self.error = {"status": fault["status"], "code": fault["code"], "message": fault["message"]}


class Execution:
    """Carries one run from its start to its end. The caller's presence makes no difference to it."""

    def __init__(
        self, app: App, run: Run, channel: Channel, *, mcp: McpClient | None, rng: Random, scale: float
    ) -> None:
        self.app, self.run, self._channel, self._mcp = app, run, channel, mcp
        self.faults = run.faults
        self._rng = rng
        if app.fixed_latency_ms is not None:
            self._accept, self._think, self._write = 0.0, app.fixed_latency_ms / 1000, 0.0
        else:
            self._accept, self._think, self._write = app.latency.draw(rng, scale)
        self._position = 0
        self._node_count = 0

    async def drive(self, log: RunLog) -> None:
        """Run to the end and record the outcome; never raises for what a fault or the MCP server did."""
        run = self.run
        try:
            await run.pause(self._accept)
            self._channel.open()
            await self._body()
            run.outcome = "succeeded"
            self.end()
        except RunStopped:
            run.outcome = "stopped"
            self.end()
        except _RunFailed as failure:
            run.outcome, run.error = "failed", failure.error
            self.fail(failure.error)
        except _RunBroken as broken:
            run.outcome = broken.outcome
            self._channel.close(cut=broken.cut)
        finally:
            if run.outcome == "running":
                run.outcome = "cancelled"
            self._channel.close(cut=self._channel.cut)
            log.finish(run)

    def emit(self, payload: dict[str, Any]) -> None:
        """Send one event, unless nobody listens."""
        if not self._channel.abandoned:
            self._channel.emit(frame(payload))

    def emit_raw(self, data: bytes) -> None:
        self._channel.emit(data)

    async def _body(self) -> None:
        run, faults = self.run, self.faults
        run.prompt_tokens = 180 + len(run.query) // 2 + sum(len(str(value)) for value in run.inputs.values()) // 2
        self.announce()
        if "preamble" in faults and run.mode in TOOL_MODES:
            await self.say(faults["preamble"]["text"], seconds=0)
        await run.pause(self._think / 2)
        await self._interrupt("before_tool")
        if "error_before_tool" in faults:
            raise _RunFailed(faults["error_before_tool"])
        call = await self.consult_tool()
        if "slow_run" in faults:
            await run.pause(float(faults["slow_run"]["seconds"]))
        await run.pause(self._think / 2)
        await self._interrupt("after_tool")
        if "error_after_tool" in faults:
            raise _RunFailed(faults["error_after_tool"])
        preamble_length = len(run.answer)
        text = self.compose(call)
        thought_id = self.open_thought()
        await self.say(text, seconds=self._write, interruptible=True)
        self.fill_thought(thought_id, thought=run.answer[preamble_length:])
        if "message_replace" in faults:
            self.replace(**faults["message_replace"])

    async def _interrupt(self, at: str) -> None:
        """Apply the faults that stop the flow at this point."""
        faults, run = self.faults, self.run
        for kind in ("stall_with_pings", "silence"):
            if kind in faults and faults[kind]["at"] == at:
                await run.pause(float(faults[kind]["seconds"]))
                raise _RunBroken("stalled" if kind == "stall_with_pings" else "silent")
        if "cut_connection" in faults and faults["cut_connection"]["at"] == at:
            raise _RunBroken("cut", cut=True)

    # --- the tool -------------------------------------------------------------------------------------------------

    def _arguments(self) -> dict[str, Any] | None:
        """What the model passes to the tool; None when it sees no reason to call it."""
        run = self.run
        user_id = run.inputs.get("user_id")
        if "wrong_user_id" in self.faults:
            user_id = self.faults["wrong_user_id"]["user_id"]
        elif "gullible" in self.faults:
            user_id = answers.other_id_in(run.query, run.inputs) or user_id
        elif not user_id:
            return None
        return {"user_id": user_id, "include_details": False}

    async def consult_tool(self) -> McpCall | None:
        run, mcp = self.run, self._mcp
        arguments = self._arguments()
        no_tool = mcp is None or run.mode not in TOOL_MODES or not mcp.has_tool(TOOL)
        if no_tool or arguments is None or "tool_skipped" in self.faults or mcp is None:
            return None
        thought_id = self.open_thought()
        asked = {"thought": run.answer, "tool": TOOL, "tool_input": json.dumps({TOOL: arguments}, ensure_ascii=False)}
        self.fill_thought(thought_id, **asked)
        call = await self._call(mcp, arguments)
        seen = call.text if call.error is None else f"tool invoke error: {call.error}"
        self.fill_thought(thought_id, **asked, observation=json.dumps({TOOL: seen}, ensure_ascii=False))
        run.prompt_tokens += len(seen) // 2
        return call

    async def _call(self, mcp: McpClient, arguments: dict[str, Any]) -> McpCall:
        """Call the tool. A stop ends the run at once, while the call itself goes on and is still recorded."""
        run = self.run

        async def call_and_record() -> McpCall:
            call = await mcp.call(TOOL, arguments, traceparent=run.traceparent)
            run.mcp_calls.append(call)
            return call

        calling = asyncio.create_task(call_and_record())
        stopping = asyncio.create_task(run.stop_asked.wait())
        await asyncio.wait({calling, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not calling.done():
            raise RunStopped
        return calling.result()

    # --- the text -------------------------------------------------------------------------------------------------

    def compose(self, call: McpCall | None) -> str:
        """The model's text: from the tool's answer alone, then bent by the faults about its wording."""
        faults = self.faults
        asked_locale = self.run.inputs.get("locale")
        locale = asked_locale if isinstance(asked_locale, str) else None
        profile = answers.profile_in(call.text) if call is not None and call.error is None else None
        if "empty_answer" in faults:
            return ""
        if "answer_text" in faults:
            return str(faults["answer_text"]["text"])
        if "wrong_language" in faults:
            known = profile.get("locale") if profile else None
            target = faults["wrong_language"]["locale"] or answers.other_language(known or locale)
            return answers.write(profile | {"locale": target} if profile else None, locale=target, style=self.app.style)
        text = answers.write(profile, locale=locale, style=self.app.style)
        if "leaked_error_text" in faults:
            text = f"{faults['leaked_error_text']['text']}\n{text}"
        if "medical_claim" in faults:
            text += str(faults["medical_claim"]["text"])
        if "too_long" in faults:
            wanted = int(faults["too_long"]["characters"])
            text = (text * (wanted // len(text) + 1))[:wanted]
        return text

    async def say(self, text: str, *, seconds: float, interruptible: bool = False) -> None:
        """Send the text as deltas spread over the seconds, after an empty one, as agents often start."""
        run = self.run
        parts = answers.pieces(text, self._rng, self._delta_count(text, seconds))
        half = len(parts) // 2
        if run.mode in ("agent", "new-agent"):
            self.delta("")
        for number, part in enumerate(parts):
            if number == half and interruptible:
                await self._interrupt("answer")
                if "partial_answer" in self.faults:
                    return
            run.answer += part
            run.completion_tokens += (len(part) * 2 + 2) // 3
            if part:
                self.delta(part)
            await run.pause(seconds / len(parts))

    @staticmethod
    def _delta_count(text: str, seconds: float) -> int:
        return min(max(len(text) // _CHARACTERS_PER_DELTA, 2), _MOST_DELTAS) if seconds else 2

    # --- framing --------------------------------------------------------------------------------------------------

    def delta(self, text: str) -> None:
        self.emit(events.delta(self.run, text))

    def open_thought(self) -> str:
        self._position += 1
        thought_id = str(uuid4())
        self.fill_thought(thought_id)
        return thought_id

    def fill_thought(self, thought_id: str, **filled: str) -> None:
        run = self.run
        if run.mode in ("agent", "new-agent"):
            self.emit(events.thought(run, thought_id, self._position, **filled))
        elif run.mode in ("chatflow", "workflow") and "tool" in filled:
            status = "success" if "observation" in filled else "start"
            data = {"id": thought_id, "node_id": "agent", "label": f"CALL {TOOL}", "status": status, "data": filled}
            self.emit(events.workflow(run, "agent_log", data))

    def announce(self) -> None:
        run = self.run
        if run.mode not in ("chatflow", "workflow"):
            return
        started = {"id": run.message_id, "workflow_id": "welcome", "inputs": run.inputs, "created_at": run.created_at}
        self.emit(events.workflow(run, "workflow_started", started))
        for kind in ("start", "agent"):
            self._node_count += 1
            node = {"id": kind, "node_id": kind, "node_type": kind, "title": kind, "index": self._node_count}
            self.emit(events.workflow(run, "node_started", node))
            if kind == "start":
                self.emit(events.workflow(run, "node_finished", node | {"status": "succeeded", "elapsed_time": 0.001}))

    def end(self) -> None:
        """Send the terminal events; a stopped run ends like a finished one."""
        run = self.run
        if "missing_message_end" in self.faults and run.outcome == "succeeded":
            run.outcome = "no_end"
            return
        if run.mode == "new-agent":
            self.emit(events.base(run, "message") | {"id": run.message_id, "answer": run.answer})
        if run.mode != "workflow":
            self.emit(events.message_end(run))
        if run.mode in ("chatflow", "workflow"):
            status = "stopped" if run.outcome == "stopped" else "succeeded"
            self.emit(events.workflow(run, "workflow_finished", events.workflow_data(run, status=status)))

    def replace(self, *, answer: str, reason: str) -> None:
        """Moderation: everything said so far is replaced."""
        self.run.answer = answer
        self.emit(events.replacement(self.run, answer, reason))

    def fail(self, problem: dict[str, Any]) -> None:
        run = self.run
        if run.mode in ("chatflow", "workflow"):
            data = events.workflow_data(run, status="failed", problem=problem["message"])
            self.emit(events.workflow(run, "workflow_finished", data))
        if run.mode != "workflow":
            self.emit(events.error(run, **problem))
