"""What the events of a Dify run add up to: the right final text, and how the run ended. Pure."""

from typing import Any

from pydantic import SecretStr

from clients.agent_codes import AgentCode
from clients.agent_errors import AgentError, agent_error, refused, shown
from clients.agent_types import Draft
from clients.sse import SseEvent

AGENT_MODES = frozenset({"agent", "new-agent"})
# Where a workflow's End node puts its text, by custom; otherwise its only text output is taken.
OUTPUT_NAMES = ("text", "answer", "result", "output")
_USAGE_FIELDS = (
    "prompt_tokens", "completion_tokens", "total_tokens", "prompt_price", "completion_price", "total_price", "currency", "latency",
)  # fmt: skip
_ID_CHARACTERS = 128


class DifyTranscript:
    """Takes a run's events in order. Unknown events and unreadable data are passed over: Dify adds events freely."""

    def __init__(self, mode: str, key: SecretStr) -> None:
        self.task_id: str | None = None
        self.speaking = False
        self._mode = mode
        self._key = key
        self._message_id: str | None = None
        self._conversation_id: str | None = None
        # Text pieces since the last tool result, and all before it.
        self._pieces: list[str] = []
        self._earlier = ""
        self._closing_message = ""
        self._observed = False
        self._replaced = False
        # The text of each agent_thought by its position; those that call a tool are no answer.
        self._thoughts: dict[int, str] = {}
        self._tool_positions: set[int] = set()
        self._observed_position = 0
        self._tools: dict[str, None] = {}
        self._usage: dict[str, Any] = {}
        self._ended = False
        self._workflow: dict[str, Any] | None = None
        self._error: AgentError | None = None

    @property
    def finished(self) -> bool:
        """Agent, chat and completion end with `message_end`, a workflow with `workflow_finished`, a chatflow with both."""
        if self._error is not None:
            return True
        if self._mode == "workflow":
            return self._workflow is not None
        if self._mode == "chatflow":
            return self._ended and self._workflow is not None
        return self._ended

    @property
    def over(self) -> bool:
        return self._error is not None or self._ended or self._workflow is not None

    def take(self, event: SseEvent) -> str:
        """Account for one event; return the piece that may be shown at once.

        An agent's text before its first tool result is held back: it is what the model says while it looks things up,
        and no part of the answer.
        """
        data = event.json_object()
        if data is None:
            return ""
        self._take_ids(data)
        match data.get("event"):
            case "message" | "agent_message" | "text_chunk":
                return self._take_text(data)
            case "agent_thought":
                self._take_thought(data)
            case "message_replace":
                self._replaced, self._pieces = True, [_text(data.get("answer"))]
            case "message_end":
                self._ended = True
                self._take_usage(_mapping(_mapping(data.get("metadata")).get("usage")))
            case "workflow_finished":
                self._workflow = _mapping(data.get("data"))
                self._take_usage({"total_tokens": self._workflow.get("total_tokens")} | self._usage)
            case "agent_log":
                self._take_log(_mapping(data.get("data")))
            case "error":
                self._error = self._refusal(data)
        return ""

    def draft(self) -> Draft:
        """Return the final text; raise what the run failed with, AGENT_NO_TERMINAL_EVENT or AGENT_EMPTY_ANSWER."""
        if self._error is not None:
            raise self._error
        self._require_success()
        text = self._final_text().replace("\x00", "").strip()
        if not text:
            raise agent_error(AgentCode.EMPTY_ANSWER, "the agent ended without a text")
        tools = tuple(self._tools)
        return Draft(text, self._message_id, self._conversation_id, self._usage, tools, moderated=self._replaced)

    def _require_success(self) -> None:
        status = None if self._workflow is None else str(self._workflow.get("status") or "")
        if status == "failed":
            reason = refused(500, "workflow_failed", _text(_mapping(self._workflow).get("error")), self._key)
            raise agent_error(AgentCode.RUN_FAILED, reason.message)
        if status == "stopped":
            raise agent_error(AgentCode.RUN_STOPPED, "the run was stopped at the provider, its text is a part only")
        if not (self._ended or (self._mode == "workflow" and self._workflow is not None)):
            raise agent_error(AgentCode.NO_TERMINAL_EVENT, "the stream ended without its terminal event")

    def _final_text(self) -> str:
        pieces = "".join(self._pieces)
        if self._mode == "workflow":
            return self._output() or pieces
        if self._replaced or self._mode not in AGENT_MODES:
            return pieces
        if self._closing_message:
            # The closing message repeats all that was said; what was said before the tool answered is taken off again.
            return self._closing_message.removeprefix(self._earlier) or self._closing_message
        written = [at for at, text in self._thoughts.items() if text.strip() and at not in self._tool_positions]
        last = max(written, default=0)
        if last > self._observed_position:
            return self._thoughts[last]
        return pieces

    def _output(self) -> str:
        outputs = _mapping(_mapping(self._workflow).get("outputs"))
        for name in OUTPUT_NAMES:
            if isinstance(outputs.get(name), str):
                return str(outputs[name])
        texts = [value for value in outputs.values() if isinstance(value, str)]
        return texts[0] if len(texts) == 1 else ""

    def _take_text(self, data: dict[str, Any]) -> str:
        answer = data.get("answer")
        if data["event"] == "text_chunk":
            answer = _mapping(data.get("data")).get("text")
        piece = _text(answer)
        self.speaking = self.speaking or bool(piece)
        if self._mode in AGENT_MODES and data["event"] == "message":
            self._closing_message = piece
            return ""
        self._pieces.append(piece)
        held_back = self._mode in AGENT_MODES and not self._observed
        return "" if held_back or self._replaced else piece.replace("\x00", "")

    def _take_thought(self, data: dict[str, Any]) -> None:
        position = data["position"] if isinstance(data.get("position"), int) else 0
        thought, observation = _text(data.get("thought")), _text(data.get("observation"))
        if thought:
            self._thoughts[position] = thought
        for tool in _text(data.get("tool")).split(";"):
            if tool.strip():
                self._tool_positions.add(position)
                self._note_tool(tool)
        if observation and position > self._observed_position:
            self._observed_position = position
            self._observed = True
            if not self._replaced:
                self._earlier += "".join(self._pieces)
                self._pieces.clear()

    def _take_log(self, data: dict[str, Any]) -> None:
        label = _text(data.get("label"))
        if label.startswith("CALL "):
            self._note_tool(label.removeprefix("CALL "))

    def _note_tool(self, name: str) -> None:
        self._tools[shown(name, self._key)[:_ID_CHARACTERS]] = None

    def _take_ids(self, data: dict[str, Any]) -> None:
        self.task_id = self.task_id or _id(data.get("task_id"))
        self._message_id = self._message_id or _id(data.get("message_id")) or _id(data.get("workflow_run_id"))
        self._conversation_id = self._conversation_id or _id(data.get("conversation_id"))

    def _take_usage(self, usage: dict[str, Any]) -> None:
        for name in _USAGE_FIELDS:
            value = usage.get(name)
            if isinstance(value, int | float | str) and not isinstance(value, bool):
                self._usage[name] = shown(value, self._key)[:_ID_CHARACTERS] if isinstance(value, str) else value

    def _refusal(self, data: dict[str, Any]) -> AgentError:
        status = data["status"] if isinstance(data.get("status"), int) else 500
        return refused(status, _text(data.get("code")), _text(data.get("message")), self._key)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _id(value: object) -> str | None:
    """Return an id fit for a URL's path and a column; Dify's are UUIDs."""
    if not isinstance(value, str) or not value or len(value) > _ID_CHARACTERS:
        return None
    return value if value.replace("-", "").replace("_", "").isalnum() and value.isascii() else None
