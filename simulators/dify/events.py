"""The JSON of every event and reply, as field names and types appear on Dify's wire."""

import time
from typing import Any

from simulators.dify.profiles import MODES
from simulators.dify.runs import Run

_PROMPT_PRICE, _COMPLETION_PRICE = 0.001, 0.002


def base(run: Run, event: str) -> dict[str, Any]:
    """The fields every event of a conversation shares."""
    return {
        "event": event,
        "conversation_id": run.conversation_id,
        "message_id": run.message_id,
        "created_at": run.created_at,
        "task_id": run.task_id,
    }


def usage(run: Run) -> dict[str, Any]:
    """Token counts are ints; prices are decimal strings."""
    prompt_price = run.prompt_tokens / 1000 * _PROMPT_PRICE
    completion_price = run.completion_tokens / 1000 * _COMPLETION_PRICE
    return {
        "prompt_tokens": run.prompt_tokens,
        "prompt_unit_price": f"{_PROMPT_PRICE}",
        "prompt_price_unit": "0.001",
        "prompt_price": f"{prompt_price:.7f}",
        "completion_tokens": run.completion_tokens,
        "completion_unit_price": f"{_COMPLETION_PRICE}",
        "completion_price_unit": "0.001",
        "completion_price": f"{completion_price:.7f}",
        "total_tokens": run.prompt_tokens + run.completion_tokens,
        "total_price": f"{prompt_price + completion_price:.7f}",
        "currency": "USD",
        "latency": round(time.time() - run.started_at.timestamp(), 6),
    }


def message_end(run: Run) -> dict[str, Any]:
    return base(run, "message_end") | {
        "id": run.message_id,
        "metadata": {"usage": usage(run), "retriever_resources": []},
        "files": None,
    }


def error(run: Run, *, status: int, code: str, message: str) -> dict[str, Any]:
    """A failure in mid-stream; it carries no task_id."""
    fields = base(run, "error") | {"code": code, "status": status, "message": message}
    del fields["task_id"]
    return fields


def delta(run: Run, text: str) -> dict[str, Any]:
    """One piece of the answer, in the event that the app's mode uses."""
    if run.mode == "workflow":
        return _workflow_base(run, "text_chunk") | {"data": {"text": text, "from_variable_selector": ["llm", "text"]}}
    event = "agent_message" if run.mode in ("agent", "new-agent") else "message"
    fields = base(run, event) | {"id": run.message_id, "answer": text}
    if run.mode == "chatflow":
        fields["from_variable_selector"] = ["answer", "text"]
    return fields


def thought(run: Run, thought_id: str, position: int, **filled: str) -> dict[str, Any]:
    """An agent_thought; the same id is sent again as it fills."""
    empty: dict[str, Any] = {
        "thought": "",
        "observation": "",
        "tool": "",
        "tool_labels": {},
        "tool_input": "",
        "message_files": [],
    }
    fields = base(run, "agent_thought") | {"id": thought_id, "position": position} | empty | filled
    if tool := filled.get("tool"):
        fields["tool_labels"] = {tool: {"en_US": tool, "zh_Hans": tool}}
    return fields


def replacement(run: Run, answer: str, reason: str) -> dict[str, Any]:
    return base(run, "message_replace") | {"answer": answer, "reason": reason}


def _workflow_base(run: Run, event: str) -> dict[str, Any]:
    return {"event": event, "task_id": run.task_id, "workflow_run_id": run.message_id}


def workflow(run: Run, event: str, data: dict[str, Any]) -> dict[str, Any]:
    """A workflow_* or node_* event; in a chatflow it also names conversation and message."""
    fields = _workflow_base(run, event) | {"data": data}
    if run.mode == "chatflow":
        fields |= {"conversation_id": run.conversation_id, "message_id": run.message_id, "created_at": run.created_at}
    return fields


def workflow_data(run: Run, *, status: str, problem: str | None = None) -> dict[str, Any]:
    """The ``data`` of workflow_finished and of a blocking workflow reply."""
    now = time.time()
    return {
        "id": run.message_id,
        "workflow_id": "0198f000-0000-7000-8000-000000000001",
        "status": status,
        "outputs": {"text": run.answer} if status == "succeeded" else None,
        "error": problem,
        "elapsed_time": round(now - run.started_at.timestamp(), 6),
        "total_tokens": run.prompt_tokens + run.completion_tokens,
        "total_steps": 3,
        "exceptions_count": 0,
        "created_at": run.created_at,
        "finished_at": int(now),
    }


def blocking_reply(run: Run) -> dict[str, Any]:
    """The body of a finished blocking request."""
    if run.mode == "workflow":
        status = {"succeeded": "succeeded", "stopped": "stopped"}.get(run.outcome, "failed")
        problem = str(run.error["message"]) if run.error else None
        data = workflow_data(run, status=status, problem=problem)
        return {"task_id": run.task_id, "workflow_run_id": run.message_id, "data": data}
    reply = base(run, "message") | {
        "id": run.message_id,
        "mode": MODES[run.mode],
        "answer": run.answer,
        "metadata": {"usage": usage(run), "retriever_resources": []},
    }
    if run.mode == "completion":
        del reply["conversation_id"]
    return reply
