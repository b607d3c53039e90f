"""One loop a process: many slow calls on few threads, forks, shutdown, and callbacks that misbehave."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures

import pytest

from clients import agent_limits, agent_loop, agents, delta_relay
from clients.agent_loop import AgentLoop
from clients.agents import AgentAnswer, AgentRequest
from core.errors import AgentPermanentError, AgentTransientError
from tests.clients.hostile import HEAD, HostileServer, Script, pausing, saying, then_silence
from tests.clients.test_hostile_servers import WHOLE, event
from tests.simulators.simproc import ROOT, Sim
from tests.support.waiting import wait_until

Ask = Callable[..., AgentRequest]
Hostile = Callable[[Script], HostileServer]
END = event(event="message_end", metadata={})


def said(text: str) -> bytes:
    return event(event="message", answer=text)


def test_two_hundred_slow_calls_cost_no_thread_each(ask: Ask, sim: Sim) -> None:
    agents.start(ask("chat")).result(20)
    # It ends by the reset below: however slow the machine, all two hundred are open together.
    sim.fault("slow_run", seconds=120)
    before = threading.active_count()

    futures = [agents.start(ask("chat", timeout_seconds=100, user=f"user-{number}")) for number in range(200)]
    wait_until(lambda: sim.http.get(sim.url + "/__sim__/stats").json()["open"] == 200, timeout_seconds=60)
    threads = threading.active_count()
    sim.http.post(sim.url + "/__sim__/reset").raise_for_status()
    done, _ = wait_for_futures(futures, timeout=60)

    assert threads == before
    # Stopped before their first word, each ended by itself with our own error.
    assert {getattr(future.exception(), "code", None) for future in done} == {"AGENT_EMPTY_ANSWER"}
    assert len(done) == 200


def test_the_future_never_fails_with_a_foreign_exception() -> None:
    async def broken(loop: AgentLoop) -> None:
        raise KeyError("a mistake of ours")

    with pytest.raises(AgentPermanentError) as caught:
        agent_loop.current().submit(broken).result(5)

    assert caught.value.code == "AGENT_CLIENT_FAULT"
    assert "mistake" not in str(caught.value)


@pytest.mark.usefixtures("previews_at_once")
def test_a_callback_that_raises_costs_the_preview_not_the_answer(ask: Ask, hostile: Hostile) -> None:
    calls: list[str] = []

    def broken(piece: str) -> None:
        calls.append(piece)
        raise RuntimeError("nobody listens")

    server = hostile(pausing(HEAD, said("小美，您好！"), (lambda: calls, said("欢迎您。") + END)))

    answer = agents.start(ask("chat", base_url=server.url), broken).result(20)

    assert answer.text == "小美，您好！欢迎您。"
    assert calls == ["小美，您好！"]


@pytest.mark.usefixtures("previews_at_once")
def test_a_callback_that_hangs_holds_up_nobody(ask: Ask, hostile: Hostile) -> None:
    released = threading.Event()
    entered = threading.Event()

    def hanging(_: str) -> None:
        entered.set()
        released.wait(20)

    server = hostile(pausing(HEAD, said("小美，"), (entered.is_set, said("您好！") + END)))
    try:
        stuck = agents.start(ask("chat", base_url=server.url), hanging)
        assert entered.wait(10)
        free: list[Future[AgentAnswer]] = [agents.start(ask()) for _ in range(5)]
        done, _ = wait_for_futures([stuck, *free], timeout=10)
        assert len(done) == 6
    finally:
        released.set()


def test_a_slow_answer_is_previewed_from_its_first_moment_on_in_order(
    ask: Ask, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_relay, "PREVIEW_AFTER_SECONDS", 0.05)
    shown: list[str] = []
    together = said("小美，") + said("您好！")
    later = ((lambda count=count: len(shown) == count, said(f"第{count}句。")) for count in (1, 2, 3))
    server = hostile(pausing(HEAD, together, *later, (lambda: len(shown) == 4, END)))

    answer = agents.start(ask("chat", base_url=server.url), shown.append).result(20)

    assert shown == ["小美，您好！", "第1句。", "第2句。", "第3句。"]
    assert answer.text == "".join(shown)


def test_a_fast_answer_arrives_without_a_preview_and_without_waiting(
    ask: Ask, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    agents.shutdown()
    monkeypatch.setattr(delta_relay, "PREVIEW_AFTER_SECONDS", 60)
    shown: list[str] = []
    server = hostile(saying(HEAD, WHOLE))

    answer = agents.start(ask("chat", base_url=server.url), shown.append).result(5)

    assert answer.text == "小美，您好！🌟"
    assert shown == []
    assert not any(thread.name == "agent-deltas" for thread in threading.enumerate())


def test_pieces_stop_when_the_call_is_given_up(ask: Ask, sim: Sim) -> None:
    sim.fault("stall_with_pings", at="answer", seconds=30, ping_seconds=0.05)
    shown: list[str] = []
    future = agents.start(ask(), shown.append)
    wait_until(lambda: shown)

    future.cancel()
    count = len(shown)

    wait_until(lambda: any(run["stopped"] for run in sim.runs()))
    assert len(shown) == count


def test_shutdown_fails_open_calls_and_stops_their_runs(ask: Ask, sim: Sim) -> None:
    sim.fault("slow_run", seconds=30)
    futures = [agents.start(ask()) for _ in range(5)]
    wait_until(lambda: sim.http.get(sim.url + "/__sim__/stats").json()["open"] == 5)

    started = time.monotonic()
    agents.shutdown()

    assert time.monotonic() - started < 3
    for future in futures:
        with pytest.raises(AgentTransientError) as caught:
            future.result(1)
        assert caught.value.code == "AGENT_INTERRUPTED"
    wait_until(lambda: sum(run["stopped"] for run in sim.runs()) == 5)
    assert not any(thread.name == "agent-loop" for thread in threading.enumerate())
    # And a later call starts a new loop.
    assert agents.info(ask().target).result(10).mode == "agent"


def test_a_forked_child_gets_a_loop_of_its_own(ask: Ask, sim: Sim) -> None:
    parent_loop = agent_loop.current()
    agents.start(ask()).result(10)

    child = os.fork()
    if child == 0:
        status = 1
        try:
            fresh = agent_loop.current() is not parent_loop
            text = agents.start(ask()).result(10).text
            agents.shutdown()
            status = 0 if fresh and text.startswith("小美") else 2
        finally:
            os._exit(status)

    def ended() -> tuple[int, int] | None:
        pid, status = os.waitpid(child, os.WNOHANG)
        return (pid, status) if pid else None

    assert wait_until(ended, timeout_seconds=20) == (child, 0)
    assert agent_loop.current() is parent_loop
    assert agents.start(ask()).result(10).text.startswith("小美")


LEAVING = """
import sys
from pydantic import SecretStr
from clients import agents
target = agents.AgentTarget("dify", sys.argv[1], SecretStr("app-key-of-agent"), "agent", 60)
seen = []
future = agents.start(agents.AgentRequest(target, {"user_id": "jrn_mei"}, "hi", "u", None), seen.append)
while not seen:
    pass
print("left", flush=True)
"""


def test_a_process_that_leaves_stops_its_runs_and_ends_at_once(sim: Sim) -> None:
    sim.fault("stall_with_pings", at="answer", seconds=60, ping_seconds=0.05)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    started = time.monotonic()
    left = subprocess.run(
        [sys.executable, "-c", LEAVING, sim.url],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (left.returncode, left.stdout.splitlines()[0]) == (0, "left"), left.stderr
    assert "Traceback" not in left.stderr
    assert time.monotonic() - started < 10
    wait_until(lambda: any(run["stopped"] for run in sim.runs()))


def test_the_pool_is_shared_by_all_threads(ask: Ask, hostile: Hostile) -> None:
    server = hostile(saying(HEAD, WHOLE))
    loops: set[int] = set()

    def work() -> None:
        loops.add(id(agent_loop.current()))
        agents.start(ask("chat", base_url=server.url)).result(10)

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert len(loops) == 1
    assert len(server.requests) == 10


def test_runs_started_together_are_answered_each_with_its_own(ask: Ask, sim: Sim) -> None:
    requests = [ask(user=f"user-{number}") for number in range(20)]

    answers = [future.result(20) for future in agents.start_many([(request, None) for request in requests])]

    user_of = {run["task_id"]: run["user"] for run in sim.runs()}
    assert [user_of[answer.task_id] for answer in answers if answer.task_id] == [one.user for one in requests]


def test_a_call_cancelled_before_it_began_is_done_for_whoever_waits(ask: Ask, hostile: Hostile) -> None:
    server = hostile(then_silence(HEAD))
    futures = agents.start_many([(ask("chat", base_url=server.url), None)] * 3)

    assert all(future.cancel() for future in futures)

    done, open_ones = wait_for_futures(futures, timeout=5)
    assert (len(done), open_ones) == (3, set())
    assert all(future.cancelled() for future in futures)


def test_more_runs_than_places_fail_over_and_a_place_is_given_back(
    ask: Ask, hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    agents.shutdown()
    monkeypatch.setattr(agent_limits, "MAX_RUNS", 2)
    monkeypatch.setattr(agent_limits, "POOL_SECONDS", 0.1)
    slow, fast = hostile(then_silence(HEAD)), hostile(saying(HEAD, WHOLE))
    held = agents.start_many([(ask("chat", base_url=slow.url), None)] * 2)
    wait_until(lambda: len(slow.requests) == 2)

    with pytest.raises(AgentTransientError) as caught:
        agents.start(ask("chat", base_url=fast.url)).result(5)

    assert caught.value.code == "AGENT_POOL_EXHAUSTED"
    assert fast.requests == []
    # They told no id, and a run is listened to until it does, so only the server's end frees their places.
    for future in held:
        future.cancel()
    monkeypatch.setattr(agent_limits, "POOL_SECONDS", 10)
    slow.hang_up()
    assert agents.start(ask("chat", base_url=fast.url)).result(15).text == "小美，您好！🌟"
