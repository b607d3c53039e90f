"""The healthy path: framing of every kind of app, personal facts only through MCP, keys and refusals."""

import json
from typing import Any

import pytest

from tests.simulators.simproc import MCP_KEY, Sim, answer_in, events_of
from tests.support.waiting import wait_until


def test_agent_stream_is_framed_as_dify_frames_it(sim: Sim) -> None:
    events = sim.chat()
    kinds = [event["event"] for event in events]
    assert kinds[0] == "agent_thought"
    assert kinds[-1] == "message_end"
    assert set(kinds) == {"agent_thought", "agent_message", "message_end"}
    shared = {(e["conversation_id"], e["message_id"], e["task_id"], e["created_at"]) for e in events}
    assert len(shared) == 1
    metadata = events[-1]["metadata"]
    assert metadata["retriever_resources"] == []
    usage = metadata["usage"]
    assert all(isinstance(usage[name], int) for name in ("prompt_tokens", "completion_tokens", "total_tokens"))
    assert all(
        isinstance(usage[name], str)
        for name in ("prompt_unit_price", "prompt_price", "completion_price", "total_price")
    )
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_thought_is_sent_again_with_the_same_id_as_it_fills(sim: Sim) -> None:
    events = sim.chat()
    first = [event for event in events if event["event"] == "agent_thought" and event["position"] == 1]
    assert [(bool(t["tool"]), bool(t["observation"])) for t in first] == [(False, False), (True, False), (True, True)]
    assert len({thought["id"] for thought in first}) == 1
    assert json.loads(first[1]["tool_input"]) == {"get_user_profile": {"user_id": "jrn_mei", "include_details": False}}
    assert json.loads(json.loads(first[2]["observation"])["get_user_profile"])["username"] == "小美"
    last = [event for event in events if event["event"] == "agent_thought"][-1]
    assert last["position"] == 2
    assert last["thought"] == answer_in(events)


def test_personal_facts_come_from_the_tool_alone(sim: Sim) -> None:
    answer = answer_in(sim.chat())
    assert answer.startswith("小美，您好！欢迎来到安美智享。")
    assert "微信" in answer
    assert "皮肤管理、激光美肤" in answer
    (run,) = sim.runs()
    assert run["inputs"] == {"user_id": "jrn_mei", "locale": "zh-CN"}
    assert run["outcome"] == "succeeded"
    assert [(c["tool"], c["arguments"]) for c in run["mcp_calls"]] == [
        ("get_user_profile", {"user_id": "jrn_mei", "include_details": False})
    ]


@pytest.mark.parametrize(
    ("user_id", "start"),
    [
        ("jrn_emma", "Hello Emma O'Connor, welcome to AnmeiSmart."),
        ("jrn_sakura", "佐藤さくら様、安美智享へようこそ。"),
        ("jrn_seoyeon", "김서연님, 안메이스마트에"),
        ("jrn_taipei", "陳怡君，您好！歡迎來到安美智享。"),
    ],
)
def test_the_profile_s_locale_chooses_the_language(sim: Sim, user_id: str, start: str) -> None:
    assert answer_in(sim.chat(user_id)).startswith(start)


def test_an_unknown_user_gets_a_generic_answer_although_the_inputs_name_one(sim: Sim) -> None:
    body = sim.body(inputs={"user_id": "jrn_nobody", "username": "输入里的名字", "locale": "zh-CN"})
    events = events_of(sim.post("/v1/chat-messages", body).text)
    assert events[-1]["event"] == "message_end"
    assert "输入里的名字" not in answer_in(events)
    assert answer_in(events).startswith("您好，欢迎来到安美智享！")
    (call,) = sim.runs()[0]["mcp_calls"]
    assert (call["is_error"], call["error"]) == (True, None)


def test_without_a_user_id_the_tool_is_not_called(sim: Sim) -> None:
    sim.chat("")
    assert sim.runs()[0]["mcp_calls"] == []


def test_the_mcp_session_is_dify_s_on_the_wire(sim: Sim, mcp_url: str) -> None:
    sim.chat()
    seen = sim.http.get(mcp_url + "/seen").json()
    assert [(r["method"], r["path"]) for r in seen] == [("POST", "/mcp")] * 3
    assert [r["body"]["method"] for r in seen] == ["initialize", "notifications/initialized", "tools/call"]
    assert [r["body"].get("id") for r in seen] == [0, None, 1]
    hello = seen[0]["body"]["params"]
    assert hello["protocolVersion"] == "2025-06-18"
    assert hello["clientInfo"]["name"] == "Dify"
    assert all("mcp-protocol-version" not in r["headers"] for r in seen)


def deleted_session(sim: Sim, url: str) -> list[dict[str, Any]]:
    """All requests of a session, once its DELETE has come; none before."""
    seen: list[dict[str, Any]] = sim.http.get(url + "/seen").json()
    return seen if any(request["method"] == "DELETE" for request in seen) else []


def test_with_a_session_id_it_opens_a_stream_beside_and_deletes_the_session(
    sim: Sim, stateful_mcp_url: str, mcp_url: str
) -> None:
    authorize = {"mcp_url": stateful_mcp_url + "/mcp", "mcp_key": MCP_KEY}
    assert sim.http.post(sim.url + "/__sim__/authorize", json=authorize).json() == {"tools": ["get_user_profile"]}
    try:
        sim.http.delete(stateful_mcp_url + "/seen")
        assert "小美" in answer_in(sim.chat())
        seen = wait_until(lambda: deleted_session(sim, stateful_mcp_url))
        assert sorted(r["method"] for r in seen) == ["DELETE", "GET", "POST", "POST", "POST"]
        assert len({r["headers"].get("mcp-session-id") for r in seen[1:]}) == 1
    finally:
        sim.http.post(sim.url + "/__sim__/authorize", json={"mcp_url": mcp_url + "/mcp", "mcp_key": MCP_KEY})


@pytest.mark.parametrize("path", ["/sse"])
def test_an_address_ending_in_sse_is_spoken_to_over_sse(sim: Sim, mcp_url: str, path: str) -> None:
    try:
        done = sim.http.post(sim.url + "/__sim__/authorize", json={"mcp_url": mcp_url + path, "mcp_key": MCP_KEY})
        assert done.json() == {"tools": ["get_user_profile"]}
        assert "小美" in answer_in(sim.chat())
    finally:
        sim.http.post(sim.url + "/__sim__/authorize", json={"mcp_url": mcp_url + "/mcp", "mcp_key": MCP_KEY})


def test_a_refused_authorisation_changes_nothing(sim: Sim, mcp_url: str) -> None:
    refused = sim.http.post(sim.url + "/__sim__/authorize", json={"mcp_url": mcp_url + "/mcp", "mcp_key": "wrong"})
    assert refused.status_code == 502
    assert "小美" in answer_in(sim.chat())


def test_agent_apps_refuse_blocking_mode(sim: Sim) -> None:
    for body in (sim.body(response_mode="blocking"), {k: v for k, v in sim.body().items() if k != "response_mode"}):
        refused = sim.post("/v1/chat-messages", body)
        assert refused.status_code == 400
        assert refused.json() == {
            "code": "invalid_param",
            "message": "Agent Chat App does not support blocking mode",
            "status": 400,
        }
    assert sim.runs() == []


@pytest.mark.parametrize("key", [None, "app-unknown"])
def test_a_missing_or_wrong_key_is_unauthorized(sim: Sim, key: str | None) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    refused = sim.http.post(sim.url + "/v1/chat-messages", json=sim.body(), headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    assert sim.runs() == []


def test_a_body_that_is_not_json_is_refused(sim: Sim) -> None:
    headers = {"Authorization": "Bearer app-agent"}
    text = sim.http.post(sim.url + "/v1/chat-messages", content="x", headers=headers)
    broken = sim.http.post(
        sim.url + "/v1/chat-messages", content="{", headers=headers | {"content-type": "application/json"}
    )
    assert (text.status_code, text.json()["code"]) == (415, "unsupported_media_type")
    assert (broken.status_code, broken.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"inputs": None}, 400, "invalid_param"),
        ({"inputs": {}}, 400, "invalid_param"),
        ({"inputs": {"user_id": 7}}, 400, "invalid_param"),
        ({"inputs": {"user_id": "x" * 257}}, 400, "invalid_param"),
        ({"query": ""}, 400, "invalid_param"),
        ({"user": ""}, 400, "invalid_param"),
        ({"response_mode": "later"}, 400, "invalid_param"),
        ({"conversation_id": "no-uuid"}, 400, "invalid_param"),
        ({"conversation_id": "0198f000-0000-7000-8000-000000000009"}, 404, "not_found"),
    ],
)
def test_wrong_parameters_are_refused_before_any_run(sim: Sim, changes: dict[str, Any], status: int, code: str) -> None:
    refused = sim.post("/v1/chat-messages", sim.body(**changes))
    assert (refused.status_code, refused.json()["code"], refused.json()["status"]) == (status, code, status)
    assert sim.runs() == []


def test_a_conversation_belongs_to_its_app_and_user(sim: Sim) -> None:
    conversation_id = sim.chat()[0]["conversation_id"]
    assert sim.chat(conversation_id=conversation_id)[0]["conversation_id"] == conversation_id
    assert sim.post("/v1/chat-messages", sim.body(conversation_id=conversation_id, user="else")).status_code == 404
    assert sim.post("/v1/chat-messages", sim.body(conversation_id=conversation_id), "app-warm").status_code == 404


def test_new_agent_repeats_the_whole_answer_in_a_closing_message(sim: Sim) -> None:
    events = sim.chat(key="app-new-agent")
    assert [event["event"] for event in events[-2:]] == ["message", "message_end"]
    deltas = "".join(event["answer"] for event in events if event["event"] == "agent_message")
    assert events[-2]["answer"] == deltas
    assert "小美" in deltas


def test_chatflow_ends_with_message_end_and_then_workflow_finished(sim: Sim) -> None:
    events = sim.chat(key="app-chatflow")
    assert [event["event"] for event in events[-2:]] == ["message_end", "workflow_finished"]
    assert events[0]["event"] == "workflow_started"
    assert {"node_started", "node_finished", "agent_log", "message"} <= {event["event"] for event in events}
    assert "小美" in answer_in(events)


def test_chatflow_may_block(sim: Sim) -> None:
    reply = sim.post("/v1/chat-messages", sim.body(response_mode="blocking"), "app-chatflow").json()
    assert (reply["event"], reply["mode"]) == ("message", "advanced-chat")
    assert "小美" in reply["answer"]
    assert isinstance(reply["metadata"]["usage"]["total_price"], str)


def test_workflow_streams_chunks_and_blocks_with_its_status_inside_data(sim: Sim) -> None:
    events = events_of(sim.post("/v1/workflows/run", sim.body(), "app-workflow").text)
    assert events[-1]["event"] == "workflow_finished"
    assert events[-1]["data"]["status"] == "succeeded"
    chunks = "".join(event["data"]["text"] for event in events if event["event"] == "text_chunk")
    assert chunks == events[-1]["data"]["outputs"]["text"]
    sim.fault("error_after_tool", count=1)
    failed = sim.post("/v1/workflows/run", sim.body(response_mode="blocking"), "app-workflow")
    assert failed.status_code == 200
    assert failed.json()["data"]["status"] == "failed"
    assert failed.json()["data"]["error"]


def test_completion_streams_messages_and_has_no_tools(sim: Sim) -> None:
    events = events_of(sim.post("/v1/completion-messages", sim.body(), "app-completion").text)
    assert {event["event"] for event in events} == {"message", "message_end"}
    assert sim.runs()[0]["mcp_calls"] == []


def test_an_app_answers_only_on_its_own_route(sim: Sim) -> None:
    assert sim.post("/v1/chat-messages", sim.body(), "app-workflow").json()["code"] == "not_chat_app"
    assert sim.post("/v1/workflows/run", sim.body()).json()["code"] == "not_workflow_app"
    assert sim.post("/v1/completion-messages", sim.body()).json()["code"] == "app_unavailable"


def test_set_up_endpoints_tell_name_mode_and_inputs(sim: Sim) -> None:
    assert sim.get("/v1/info").json()["mode"] == "agent-chat"
    assert sim.get("/v1/info", "app-chatflow").json()["mode"] == "advanced-chat"
    form = sim.get("/v1/parameters").json()["user_input_form"]
    assert form[0]["text-input"]["variable"] == "user_id"
    assert sim.get("/v1/meta").json()["tool_icons"]
    assert sim.get("/v1/info", "app-unknown").status_code == 401


def test_feedback_is_kept_with_its_run(sim: Sim) -> None:
    message_id = sim.chat()[0]["message_id"]
    path = f"/v1/messages/{message_id}/feedbacks"
    assert sim.post(path, {"user": "end-user", "rating": "like", "content": "好"}).json() == {"result": "success"}
    assert sim.runs()[0]["feedback"] == {"rating": "like", "content": "好"}
    assert sim.post(path, {"user": "else", "rating": "like"}).status_code == 404
    assert sim.post(path, {"user": "end-user", "rating": "great"}).status_code == 400


def test_versions_write_in_their_own_style(sim: Sim) -> None:
    plain, warm, terse = (answer_in(sim.chat(key=key)) for key in ("app-agent", "app-warm", "app-terse"))
    assert terse == "小美，您好！欢迎来到安美智享。"
    assert plain.startswith(terse)
    assert warm == plain + "祝您今天心情愉快～"


def test_an_app_can_be_added_and_switched_off_from_outside(sim: Sim) -> None:
    spec = {"app_key": "app-late", "mode": "chatflow", "profile": "quick"}
    assert sim.http.post(sim.url + "/__sim__/apps", json=spec).status_code == 201
    assert sim.get("/v1/info", "app-late").json()["mode"] == "advanced-chat"
    sim.http.post(sim.url + "/__sim__/apps", json=spec | {"enabled": False})
    refused = sim.get("/v1/info", "app-late")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


def test_a_title_costs_a_second_model_call_unless_it_is_declined(sim: Sim) -> None:
    sim.chat()
    sim.chat(auto_generate_name=False)
    assert [run["auto_generate_name"] for run in sim.runs()] == [True, False]
    assert sim.http.get(sim.url + "/__sim__/stats").json()["titles_generated_total"] == 1


def test_health_and_stats_answer(sim: Sim) -> None:
    sim.chat()
    assert sim.http.get(sim.url + "/__sim__/health").json() == {"status": "ok"}
    stats = sim.http.get(sim.url + "/__sim__/stats").json()
    assert (stats["runs_total"], stats["outcome_succeeded"], stats["open"]) == (1, 1, 0)
    assert stats["tokens_total"] > 0


def test_an_authorisation_needs_an_address_that_answers(sim: Sim) -> None:
    assert sim.http.post(sim.url + "/__sim__/authorize", json={"mcp_key": "x"}).status_code == 422
    away = {"mcp_url": "http://127.0.0.1:9/mcp", "mcp_key": MCP_KEY}
    assert sim.http.post(sim.url + "/__sim__/authorize", json=away).status_code == 502
