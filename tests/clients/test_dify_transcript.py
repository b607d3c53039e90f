"""Which text of a Dify run is the answer, and how a run may end."""

import json
from typing import Any

import pytest
from pydantic import SecretStr

from clients.agent_types import Draft
from clients.dify_transcript import DifyTranscript
from clients.sse import SseParser
from core.errors import AgentPermanentError, AgentTransientError

KEY = SecretStr("app-Secret0123456789")
END = {
    "event": "message_end",
    "metadata": {"usage": {"total_tokens": 9, "total_price": "0.0001", "currency": "USD", "odd": []}},
}


def transcript_of(mode: str, *events: dict[str, Any]) -> tuple[DifyTranscript, str]:
    """Feed the events as they travel; return the transcript and what would have been shown on the way."""
    transcript, parser, shown = DifyTranscript(mode, KEY), SseParser(), ""
    for event in events:
        base = {"task_id": "task-1", "message_id": "message-1", "conversation_id": "conversation-1"}
        fields = event if event["event"] == "error" else base | event
        for parsed in parser.feed(f"data: {json.dumps(fields)}\n\nevent: ping\n\n".encode()):
            shown += transcript.take(parsed)
    return transcript, shown


def draft_of(mode: str, *events: dict[str, Any]) -> Draft:
    return transcript_of(mode, *events)[0].draft()


def failure_of(mode: str, *events: dict[str, Any]) -> str:
    with pytest.raises((AgentTransientError, AgentPermanentError)) as caught:
        draft_of(mode, *events)
    return caught.value.code


def said(text: str, event: str = "agent_message") -> dict[str, Any]:
    return {"event": event, "answer": text}


def thought(position: int, **fields: Any) -> dict[str, Any]:
    return {
        "event": "agent_thought",
        "id": f"t{position}",
        "position": position,
        "thought": "",
        "observation": "",
        "tool": "",
    } | fields


CALLED = thought(1, thought="我先查一下。", tool="get_user_profile", tool_input="{}")
OBSERVED = CALLED | {"observation": '{"get_user_profile": "{}"}'}


def test_text_before_the_tools_answer_is_neither_shown_nor_kept() -> None:
    transcript, shown = transcript_of(
        "agent",
        said(""),
        said("我先查"),
        said("一下。"),
        CALLED,
        OBSERVED,
        said("小美，"),
        said("您好！"),
        thought(2),
        END,
    )

    assert transcript.draft().text == "小美，您好！"
    assert shown == "小美，您好！"


def test_the_last_thought_is_preferred_to_the_pieces() -> None:
    draft = draft_of("agent", CALLED, OBSERVED, said("小美，您"), thought(2, thought="小美，您好！"), END)

    assert draft.text == "小美，您好！"


def test_a_thought_that_calls_a_tool_is_no_answer() -> None:
    unanswered = thought(1, thought="我先查一下。", tool="get_user_profile")

    assert draft_of("agent", unanswered, said("您好！"), thought(2), END).text == "您好！"


def test_only_what_follows_the_last_of_several_tools_counts() -> None:
    second = thought(2, thought="再查一下。", tool="analyze_customer;get_user_profile", observation="{}")

    draft = draft_of("agent", said("先查。"), OBSERVED, said("再查一下。"), second, said("您好！"), END)

    assert draft.text == "您好！"
    assert draft.tools == ("get_user_profile", "analyze_customer")


def test_the_same_thought_sent_again_as_it_fills_counts_once() -> None:
    draft = draft_of("agent", thought(1), CALLED, OBSERVED, said("您好！"), OBSERVED, thought(2, thought="您好！"), END)

    assert draft.text == "您好！"


def test_new_agents_closing_message_is_the_answer_without_what_came_before_the_tool() -> None:
    events = (
        said("我先查一下。"),
        CALLED,
        OBSERVED,
        said("小美，"),
        said("您好！"),
        said("我先查一下。小美，您好！", "message"),
        END,
    )

    assert draft_of("new-agent", *events).text == "小美，您好！"


def test_new_agents_closing_message_wins_over_the_pieces() -> None:
    assert draft_of("new-agent", said("您"), said("您好！", "message"), END).text == "您好！"


@pytest.mark.parametrize("mode", ["agent", "new-agent", "chat", "completion"])
def test_moderation_replaces_all_that_was_said(mode: str) -> None:
    event = "agent_message" if "agent" in mode else "message"
    transcript, shown = transcript_of(
        mode,
        OBSERVED,
        said("不好的", event),
        thought(2, thought="不好的话"),
        {"event": "message_replace", "answer": "抱歉。", "reason": "output_moderation"},
        said("完。", event),
        END,
    )

    assert transcript.draft().text == "抱歉。完。"
    assert shown == "不好的"


def test_unknown_events_and_unreadable_data_are_passed_over() -> None:
    transcript = DifyTranscript("chat", KEY)
    parser = SseParser()
    stream = (
        'data: {"event":"brand_new","answer":"no"}\n\ndata: not json\n\ndata: [1,2]\n\ndata: {"event":"message","answer":7}\n\n'
        'data: {"event":"message","answer":"yes","task_id":null}\n\ndata: {"event":"message_end","metadata":null}\n\n'
    )
    for event in parser.feed(stream.encode()):
        transcript.take(event)

    assert transcript.draft().text == "yes"


def test_what_the_run_cost_is_kept_as_reported() -> None:
    draft = draft_of("agent", OBSERVED, said("您好！"), END)

    assert draft == Draft(
        "您好！",
        "message-1",
        "conversation-1",
        {"total_tokens": 9, "total_price": "0.0001", "currency": "USD"},
        ("get_user_profile",),
    )


def test_nothing_a_database_would_refuse_comes_out() -> None:
    called = thought(1, tool="get\x00_profile;app-Secret0123456789", observation="{}")
    end = {"event": "message_end", "metadata": {"usage": {"currency": "U\x00SD", "total_price": "1" * 500}}}

    draft = draft_of("agent", called, said("您\x00好！"), end)

    assert draft.text == "您好！"
    assert draft.tools == ("get _profile", "***")
    assert draft.usage == {"currency": "U SD", "total_price": "1" * 128}


def finished(status: str = "succeeded", **data: Any) -> dict[str, Any]:
    return {
        "event": "workflow_finished",
        "workflow_run_id": "run-1",
        "data": {"status": status, "total_tokens": 7} | data,
    }


CHUNK = {"event": "text_chunk", "data": {"text": "您好！"}}


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ({"text": "A"}, "A"),
        ({"answer": "B", "other": "x"}, "B"),
        ({"only": "C", "count": 3}, "C"),
        ({"one": "x", "two": "y"}, "您好！"),
        ({}, "您好！"),
        (None, "您好！"),
    ],
)
def test_a_workflows_text_is_its_output(outputs: object, text: str) -> None:
    draft = draft_of("workflow", CHUNK, finished(outputs=outputs))

    assert draft.text == text
    assert draft.usage == {"total_tokens": 7}


def test_a_chatflow_ends_with_both_events_and_needs_only_the_first() -> None:
    transcript, _ = transcript_of("chatflow", said("您好！", "message"), END)
    assert not transcript.finished
    assert transcript.draft().text == "您好！"

    transcript, _ = transcript_of("chatflow", said("您好！", "message"), END, finished())
    assert transcript.finished


@pytest.mark.parametrize(
    ("mode", "events", "code"),
    [
        ("agent", [], "AGENT_NO_TERMINAL_EVENT"),
        ("agent", [said("您好！")], "AGENT_NO_TERMINAL_EVENT"),
        ("chatflow", [said("您好！", "message")], "AGENT_NO_TERMINAL_EVENT"),
        ("workflow", [CHUNK], "AGENT_NO_TERMINAL_EVENT"),
        ("agent", [END], "AGENT_EMPTY_ANSWER"),
        ("agent", [said("先查。"), OBSERVED, END], "AGENT_EMPTY_ANSWER"),
        ("chat", [said(" \n\u0000 ", "message"), END], "AGENT_EMPTY_ANSWER"),
        ("workflow", [finished(outputs={})], "AGENT_EMPTY_ANSWER"),
        ("workflow", [CHUNK, finished("failed", error="node broke")], "AGENT_RUN_FAILED"),
        ("workflow", [CHUNK, finished("stopped")], "AGENT_RUN_STOPPED"),
        ("chatflow", [finished("failed", error="x")], "AGENT_RUN_FAILED"),
    ],
)
def test_a_run_without_a_whole_answer_fails(mode: str, events: list[dict[str, Any]], code: str) -> None:
    assert failure_of(mode, *events) == code


def test_an_error_event_ends_the_run_whatever_came_before() -> None:
    error = {
        "event": "error",
        "code": "completion_request_error",
        "status": 400,
        "message": "app-Secret0123456789 failed",
    }
    transcript, _ = transcript_of("agent", OBSERVED, said("您好！"), error)

    assert transcript.finished
    assert transcript.over
    with pytest.raises(AgentTransientError) as caught:
        transcript.draft()
    assert caught.value.code == "AGENT_COMPLETION_ERROR"
    assert "Secret" not in str(caught.value)


def test_a_chatflows_error_event_says_more_than_its_failed_workflow() -> None:
    error = {"event": "error", "code": "provider_quota_exceeded", "status": 400, "message": "no money"}

    assert failure_of("chatflow", finished("failed", error="x"), error) == "AGENT_QUOTA"


@pytest.mark.parametrize("task_id", ["../../etc", "a/b", "x" * 200, 7, "", "a b", "％"])
def test_an_id_unfit_for_an_address_is_not_taken(task_id: object) -> None:
    transcript, _ = transcript_of("agent", {"event": "agent_message", "answer": "x", "task_id": task_id})

    assert transcript.task_id is None
