"""The second provider: the same interface, another protocol."""

import json
from collections.abc import Callable

import pytest

from clients import agents
from clients.agents import AgentRequest
from core.errors import AgentPermanentError, AgentTransientError
from tests.clients.hostile import HEAD, HostileServer, Script, pausing, saying
from tests.simulators.simproc import Sim

Ask = Callable[..., AgentRequest]
Hostile = Callable[[Script], HostileServer]
GENERIC = "您好，欢迎来到安美智享！我是您的专属AI咨询助手，您可以随时向我咨询医美相关问题。"


def failure_of(request: AgentRequest) -> str:
    with pytest.raises((AgentTransientError, AgentPermanentError)) as caught:
        agents.start(request).result(10)
    return caught.value.code


def chunk(content: object = None, finish: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": {} if content is None else {"content": content}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "chatcmpl-1", "choices": [choice]} | more).encode() + b"\n\n"


def test_it_answers(ask: Ask, sim: Sim) -> None:
    answer = agents.start(ask("chat", provider="openai_compatible")).result(10)

    assert answer.text == GENERIC
    assert answer.task_id is None
    assert answer.usage.keys() == {"prompt_tokens", "completion_tokens", "total_tokens"}
    assert answer.tools == ()


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("http_error", "AGENT_UNAVAILABLE"),
        ("non_json_502", "AGENT_UNAVAILABLE"),
        ("too_many_requests_429", "AGENT_BUSY"),
        ("rate_limit_error", "AGENT_QUOTA"),
        ("hung_headers", "AGENT_TIMEOUT"),
        ("cut_connection", "AGENT_CONNECTION_LOST"),
        ("missing_message_end", "AGENT_NO_TERMINAL_EVENT"),
        ("slow_run", "AGENT_TIMEOUT"),
        ("empty_answer", "AGENT_EMPTY_ANSWER"),
        ("error_after_tool", "AGENT_COMPLETION_ERROR"),
        ("message_replace", "AGENT_CONTENT_FILTERED"),
    ],
)
def test_its_faults_have_the_same_codes(kind: str, code: str, ask: Ask, sim: Sim) -> None:
    sim.fault(kind)

    assert failure_of(ask("chat", provider="openai_compatible", timeout_seconds=0.6)) == code


def test_a_wrong_key_is_permanent(ask: Ask, sim: Sim) -> None:
    assert failure_of(ask("chat", provider="openai_compatible", key="sk-wrong")) == "AGENT_BAD_KEY"


def test_info_checks_key_and_model(ask: Ask, sim: Sim) -> None:
    target = ask("chat", provider="openai_compatible").target
    assert agents.info(target).result(10).name == "simulated"

    with pytest.raises(AgentPermanentError) as caught:
        agents.info(agents.AgentTarget(target.provider, target.base_url, target.api_key, "", 5, "gpt-none")).result(10)
    assert caught.value.code == "AGENT_MISCONFIGURED"


def test_feedback_is_not_offered(ask: Ask) -> None:
    target = ask("chat", provider="openai_compatible").target

    with pytest.raises(AgentPermanentError) as caught:
        agents.feedback(target, message_id="m", user="u", rating="like").result(10)
    assert caught.value.code == "AGENT_UNSUPPORTED"


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([chunk("您好"), chunk("！", "stop"), b"data: [DONE]\n\n"], "您好！"),
        ([chunk("您好！"), chunk(finish="stop")], "您好！"),
        ([chunk("您好！"), chunk(finish="stop"), b"data: [DONE]"], "您好！"),
        ([chunk("您好，我"), chunk(finish="length"), b"data: [DONE]\n\n"], "AGENT_RUN_STOPPED"),
        ([chunk("您好！"), b"data: [DONE]\n\n"], "AGENT_NO_TERMINAL_EVENT"),
        ([chunk(["odd"]), chunk(7), b"data: {\"choices\":[]}\n\n", b"data: {\"choices\":[3]}\n\n", chunk("x", "stop")], "x"),
        ([b'data: {"error":{"message":"boom","type":"server_error"}}\n\n'], "AGENT_UNAVAILABLE"),
    ],
)  # fmt: skip
def test_the_chunks_add_up(pieces: list[bytes], expected: str, ask: Ask, hostile: Hostile) -> None:
    server = hostile(saying(HEAD, *pieces))
    request = ask("chat", provider="openai_compatible", base_url=server.url)

    got = agents.start(request).result(10).text if not expected.startswith("AGENT_") else failure_of(request)

    assert got == expected
    assert server.requests[0].startswith(b"POST /v1/chat/completions ")


@pytest.mark.usefixtures("previews_at_once")
def test_it_streams(ask: Ask, hostile: Hostile) -> None:
    shown: list[str] = []
    first, last = chunk("您好！"), chunk("欢迎。", "stop")
    server = hostile(pausing(HEAD, first, (lambda: shown, last)))

    answer = agents.start(ask("chat", provider="openai_compatible", base_url=server.url), shown.append).result(10)

    assert answer.text == "您好！欢迎。"
    assert shown[0] == "您好！"


def test_the_inputs_travel_as_marked_data(ask: Ask, hostile: Hostile) -> None:
    server = hostile(saying(HEAD, chunk("x", "stop")))
    request = ask("chat", provider="openai_compatible", base_url=server.url)

    agents.start(request).result(10)

    sent = json.loads(server.requests[0].partition(b"\r\n\r\n")[2])
    assert sent["messages"][0]["role"] == "system"
    assert '<data>\n{"user_id":"jrn_mei","locale":"zh-CN"}\n</data>' in sent["messages"][0]["content"]
    assert sent["messages"][1] == {"role": "user", "content": request.query}
