"""The OpenAI-compatible endpoint: whole and streamed answers, tools called by the client, errors in its own shape."""

import json

import pytest

from tests.simulators.simproc import Sim

PATH = "/v1/chat/completions"
TOOLS = [{"type": "function", "function": {"name": "get_user_profile", "parameters": {"type": "object"}}}]


def ask(text: str, **more: object) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": text}]} | more


def test_a_whole_answer_has_one_choice_and_usage(sim: Sim) -> None:
    reply = sim.post(PATH, ask("请欢迎新客户")).json()
    assert (reply["object"], reply["model"]) == ("chat.completion", "m")
    (choice,) = reply["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"].startswith("您好，欢迎来到安美智享！")
    assert reply["usage"]["total_tokens"] == reply["usage"]["prompt_tokens"] + reply["usage"]["completion_tokens"]


def test_a_stream_ends_with_its_finish_reason_usage_and_done(sim: Sim) -> None:
    text = sim.post(PATH, ask("Welcome the customer", stream=True, stream_options={"include_usage": True})).text
    blocks = text.split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(block.removeprefix("data: ")) for block in blocks[:-2]]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    said = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1])
    assert said.startswith("Hello and welcome to AnmeiSmart!")


def test_an_offered_tool_is_asked_for_and_its_result_is_used(sim: Sim) -> None:
    first = sim.post(PATH, ask("欢迎 jrn_mei，语言 zh-CN", tools=TOOLS)).json()["choices"][0]
    assert (first["finish_reason"], first["message"]["content"]) == ("tool_calls", None)
    (call,) = first["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"user_id": "jrn_mei"}
    profile = json.dumps({"username": "小美", "source": "wechat", "locale": "zh-CN"}, ensure_ascii=False)
    messages = [
        {"role": "user", "content": "欢迎 jrn_mei"},
        first["message"],
        {"role": "tool", "tool_call_id": call["id"], "content": profile},
    ]
    second = sim.post(PATH, {"model": "m", "messages": messages, "tools": TOOLS}).json()["choices"][0]
    assert second["finish_reason"] == "stop"
    assert second["message"]["content"].startswith("小美，您好！")


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("http_error", 500, "internal_server_error"),
        ("too_many_requests_429", 429, "rate_limit_exceeded"),
        ("rate_limit_error", 429, "insufficient_quota"),
    ],
)
def test_errors_have_this_api_s_shape(sim: Sim, kind: str, status: int, code: str) -> None:
    sim.fault(kind, count=1)
    refused = sim.post(PATH, ask("hi"))
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
    assert sim.runs()[-1]["outcome"] == "refused"


def test_a_wrong_key_and_a_wrong_body_are_refused(sim: Sim) -> None:
    assert sim.post(PATH, ask("hi"), "app-unknown").json()["error"]["code"] == "invalid_api_key"
    assert sim.post(PATH, {"messages": []}).status_code == 400
    assert sim.get("/v1/models", "app-unknown").status_code == 401
    assert sim.get("/v1/models").json()["data"][0]["id"] == "simulated"
    assert sim.runs() == []


def test_hanging_up_does_not_cancel_a_completion(sim: Sim) -> None:
    sim.fault("slow_run", seconds=0.3)
    headers = {"Authorization": "Bearer app-agent"}
    with sim.http.stream("POST", sim.url + PATH, json=ask("hi", stream=True), headers=headers) as response:
        next(response.iter_lines())
    run = sim.finished_run()
    assert (run["outcome"], run["hung_up"]) == ("succeeded", True)
