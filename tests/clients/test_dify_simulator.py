"""The Dify client against the simulator's process: every mode, every fault, and what is left running afterwards."""

import logging
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import pytest

from clients import agents
from clients.agents import AgentAnswer, AgentRequest, AgentTarget
from core.errors import AgentPermanentError, AgentTransientError
from tests.clients.conftest import MODES
from tests.simulators.simproc import Sim
from tests.support.waiting import wait_until

Ask = Callable[..., AgentRequest]
PERSONAL = "小美，您好！欢迎来到安美智享。很高兴您通过微信找到我们。我看到您关注皮肤管理、激光美肤，想了解什么都可以直接问我，我会为您推荐合适的方案，也可以请专属顾问与您联系。"
GENERIC = "您好，欢迎来到安美智享！我是您的专属AI咨询助手，您可以随时向我咨询医美相关问题。"


def answer_to(request: AgentRequest) -> AgentAnswer:
    return agents.start(request).result(20)


def failure_of(request: AgentRequest) -> AgentTransientError | AgentPermanentError:
    with pytest.raises((AgentTransientError, AgentPermanentError)) as caught:
        agents.start(request).result(20)
    return caught.value


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_application_answers(mode: str, ask: Ask, sim: Sim) -> None:
    answer = answer_to(ask(mode))

    uses_tool = mode in ("agent", "new-agent", "chatflow", "workflow")
    assert answer.text == (PERSONAL if uses_tool else GENERIC)
    assert answer.tools == (("get_user_profile",) if uses_tool else ())
    assert answer.usage["total_tokens"] > 0
    assert answer.first_token_ms is not None
    assert answer.first_token_ms <= answer.latency_ms
    run = sim.finished_run()
    assert (run["task_id"], run["message_id"]) == (answer.task_id, answer.message_id)
    assert run["trace_id"] == "trace-1"
    assert run["outcome"] == "succeeded"
    assert not run["hung_up"]
    assert not run["stopped"]


def test_prices_stay_decimal_strings(ask: Ask, sim: Sim) -> None:
    usage = answer_to(ask()).usage

    assert usage["currency"] == "USD"
    assert isinstance(usage["total_price"], str)
    assert isinstance(usage["prompt_tokens"], int)


def previewed(request: AgentRequest) -> tuple[AgentAnswer, list[str]]:
    """An answer and its preview. On a busy machine an answer may come whole, which has none, or as one piece."""
    for _ in range(10):
        shown: list[str] = []
        answer = agents.start(request, shown.append).result(20)
        if len(shown) > 1:
            break
        assert "".join(shown) in ("", answer.text)
    return answer, shown


@pytest.mark.usefixtures("previews_at_once")
@pytest.mark.parametrize("mode", ["agent", "new-agent", "chatflow", "workflow"])
def test_the_preview_joins_to_the_answer(mode: str, ask: Ask, sim: Sim) -> None:
    answer, shown = previewed(ask(mode))

    assert len(shown) > 1
    assert "".join(shown) == answer.text


@pytest.mark.usefixtures("previews_at_once")
@pytest.mark.parametrize("mode", ["agent", "new-agent"])
def test_words_before_the_tool_reach_nobody(mode: str, ask: Ask, sim: Sim) -> None:
    sim.fault("preamble", text="好的，我先查询一下您的资料。")

    answer, shown = previewed(ask(mode))

    assert answer.text == PERSONAL
    assert len(shown) > 1
    assert "".join(shown) == PERSONAL


def test_moderation_replaces_the_text(ask: Ask, sim: Sim) -> None:
    sim.fault("message_replace", answer="这条内容暂时无法显示。")

    assert answer_to(ask()).text == "这条内容暂时无法显示。"


# Fault, code, whether a run may be left at Dify and is known by its id, so that it is stopped.
FAULTS: list[tuple[dict[str, Any], str, bool]] = [
    ({"kind": "http_error"}, "AGENT_UNAVAILABLE", False),
    ({"kind": "http_error", "status": 400, "code": "provider_not_initialize", "message": "x"}, "AGENT_MISCONFIGURED", False),
    ({"kind": "non_json_502"}, "AGENT_UNAVAILABLE", False),
    ({"kind": "too_many_requests_400"}, "AGENT_BUSY", False),
    ({"kind": "too_many_requests_429"}, "AGENT_BUSY", False),
    ({"kind": "rate_limit_error"}, "AGENT_QUOTA", False),
    ({"kind": "hung_headers"}, "AGENT_TIMEOUT", False),
    ({"kind": "error_before_tool"}, "AGENT_COMPLETION_ERROR", False),
    ({"kind": "error_after_tool"}, "AGENT_COMPLETION_ERROR", False),
    ({"kind": "cut_connection", "at": "before_tool"}, "AGENT_CONNECTION_LOST", False),
    ({"kind": "cut_connection", "at": "after_tool"}, "AGENT_CONNECTION_LOST", True),
    ({"kind": "cut_connection", "at": "answer"}, "AGENT_CONNECTION_LOST", True),
    ({"kind": "missing_message_end"}, "AGENT_NO_TERMINAL_EVENT", True),
    ({"kind": "stall_with_pings", "ping_seconds": 0.05}, "AGENT_TIMEOUT", True),
    ({"kind": "silence", "at": "answer"}, "AGENT_TIMEOUT", True),
    ({"kind": "slow_run", "seconds": 30}, "AGENT_TIMEOUT", True),
    ({"kind": "empty_answer"}, "AGENT_EMPTY_ANSWER", False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "code", "stopped"), FAULTS, ids=[f"{f['kind']}-{f.get('at', '')}" for f, _, _ in FAULTS]
)
def test_each_fault_has_its_code_and_leaves_no_run_behind(
    fault: dict[str, Any], code: str, stopped: bool, ask: Ask, sim: Sim
) -> None:
    sim.fault(**fault)

    error = failure_of(ask(timeout_seconds=0.6))

    assert error.code == code
    wait_until(lambda: stats(sim)["open"] == 0)
    if stopped:
        wait_until(lambda: stats(sim).get("stop_requests_total", 0) == 1)
    else:
        assert stats(sim).get("stop_requests_total", 0) == 0


@pytest.mark.parametrize("mode", ["chatflow", "workflow", "completion", "new-agent"])
def test_a_timeout_stops_the_run_of_every_kind(mode: str, ask: Ask, sim: Sim) -> None:
    sim.fault("stall_with_pings", at="answer", ping_seconds=0.05)

    assert failure_of(ask(mode, timeout_seconds=0.4)).code == "AGENT_TIMEOUT"

    run = wait_until(lambda: next((run for run in sim.runs() if run["finished_at"]), None))
    assert run["stopped"]
    assert run["outcome"] == "stopped"


@pytest.mark.parametrize("mode", ["chatflow", "workflow"])
def test_a_failed_workflow_is_an_error_under_http_200(mode: str, ask: Ask, sim: Sim) -> None:
    sim.fault("error_after_tool")

    assert failure_of(ask(mode)).code == ("AGENT_COMPLETION_ERROR" if mode == "chatflow" else "AGENT_RUN_FAILED")


def test_cancelling_stops_the_run(ask: Ask, sim: Sim) -> None:
    sim.fault("slow_run", seconds=30)
    future = agents.start(ask())
    wait_until(lambda: stats(sim)["open"] == 1)

    assert future.cancel()

    with pytest.raises(CancelledError):
        future.result(1)
    wait_until(lambda: any(run["stopped"] for run in sim.runs()))
    assert stats(sim)["open"] == 0


def test_a_run_given_up_before_it_told_its_id_is_stopped_once_it_does(ask: Ask, sim: Sim) -> None:
    sim.fault("hung_headers", seconds=0.5)
    sim.fault("slow_run", seconds=30)

    assert failure_of(ask(timeout_seconds=0.2)).code == "AGENT_TIMEOUT"

    wait_until(lambda: [run for run in sim.runs() if run["outcome"] == "stopped"])


def test_a_wrong_key_and_a_closed_application_are_permanent(ask: Ask, sim: Sim, dify_url: str) -> None:
    error = failure_of(ask(key="app-nobody-knows-this"))
    assert (type(error), error.code) == (AgentPermanentError, "AGENT_BAD_KEY")

    closed = {"app_key": "app-key-closed", "enabled": False}
    sim.http.post(dify_url + "/__sim__/apps", json=closed).raise_for_status()
    error = failure_of(ask(key="app-key-closed"))
    assert (type(error), error.code) == (AgentPermanentError, "AGENT_FORBIDDEN")
    assert sim.runs() == []


def test_a_mode_that_is_not_the_applications_is_a_configuration_error(ask: Ask, sim: Sim) -> None:
    assert failure_of(ask("workflow", key="app-key-of-agent")).code == "AGENT_MISCONFIGURED"


def test_the_key_is_in_no_log_error_or_repr(ask: Ask, sim: Sim, caplog: pytest.LogCaptureFixture) -> None:
    # By name: other tests configure the product's logs, which keep the noisy ones quiet.
    for name in (None, "httpx", "httpcore", "aiohttp", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    key = "app-key-of-agent"
    sim.fault("http_error", code="x", message=f"the key {key} is not good", count=1)

    error = failure_of(ask())
    answer_to(ask())

    assert error.code == "AGENT_UNAVAILABLE"
    assert key not in f"{error} {error!r} {error.__cause__!r} {ask()!r}"
    assert caplog.records
    assert all(key not in record.getMessage() for record in caplog.records)


def test_info_tells_name_and_mode_in_our_words(ask: Ask, sim: Sim) -> None:
    told = [agents.info(ask(mode).target).result(10).mode for mode in MODES]

    assert told == list(MODES)
    assert agents.info(ask().target).result(10).name == "AnmeiSmart welcome"
    assert sim.runs() == []


def test_info_with_a_wrong_key_fails_as_a_call_would(ask: Ask, sim: Sim) -> None:
    with pytest.raises(AgentPermanentError) as caught:
        agents.info(ask(key="app-wrong").target).result(10)

    assert caught.value.code == "AGENT_BAD_KEY"


def test_parameters_tell_the_declared_inputs(ask: Ask, sim: Sim) -> None:
    declared = agents.parameters(ask().target).result(10)

    names = [next(iter(field.values()))["variable"] for field in declared["user_input_form"]]
    assert names[:3] == ["user_id", "locale", "username"]


@pytest.mark.parametrize("rating", ["like", "dislike", None])
def test_feedback_reaches_the_message(rating: str | None, ask: Ask, sim: Sim) -> None:
    request = ask()
    answer = answer_to(request)
    assert answer.message_id is not None

    agents.feedback(request.target, message_id=answer.message_id, user="end-user", rating=rating, content="好").result(
        10
    )

    assert sim.finished_run()["feedback"] == {"rating": rating, "content": "好"}


def test_feedback_for_somebody_elses_message_is_refused(ask: Ask, sim: Sim) -> None:
    request = ask()
    answer = answer_to(request)
    assert answer.message_id is not None

    with pytest.raises(AgentPermanentError) as caught:
        agents.feedback(request.target, message_id=answer.message_id, user="another", rating="like").result(10)

    assert caught.value.code == "AGENT_NOT_FOUND"
    assert sim.finished_run()["feedback"] is None


def test_a_connection_is_used_again(ask: Ask, sim: Sim) -> None:
    agents.shutdown()

    def idle_connections() -> list[int]:
        """The connections that lie ready, once no other is open."""
        connector: Any = agents.agent_loop.current().http._session.connector
        idle = [id(protocol) for lying in list(connector._conns.values()) for protocol, _ in lying]
        return [] if connector._acquired else idle

    answer_to(ask())
    first = wait_until(idle_connections)
    answer_to(ask())

    assert wait_until(idle_connections) == first
    assert len(first) == 1


def test_an_unknown_provider_kind_is_permanent(ask: Ask) -> None:
    request = ask(provider="coze")

    assert failure_of(request).code == "AGENT_UNSUPPORTED"
    assert isinstance(request.target, AgentTarget)


def stats(sim: Sim) -> dict[str, Any]:
    counted: dict[str, Any] = sim.http.get(sim.url + "/__sim__/stats").json()
    return counted
