"""One loop a process: many slow calls on few threads, forks, shutdown, and callbacks that misbehave."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures

import pytest

from clients import agent_loop, agents
from clients.agent_loop import AgentLoop
from clients.agents import AgentAnswer, AgentRequest
from core.errors import AgentPermanentError, AgentTransientError
from tests.clients.hostile import HEAD, HostileServer, Script, saying
from tests.clients.test_hostile_servers import WHOLE
from tests.simulators.simproc import ROOT, Sim
from tests.support.waiting import wait_until

Ask = Callable[..., AgentRequest]
Hostile = Callable[[Script], HostileServer]


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


def test_a_callback_that_raises_costs_the_preview_not_the_answer(ask: Ask, sim: Sim) -> None:
    calls: list[str] = []

    def broken(piece: str) -> None:
        calls.append(piece)
        raise RuntimeError("nobody listens")

    answer = agents.start(ask(), broken).result(20)

    assert answer.text.startswith("小美，您好！")
    assert len(calls) == 1


def test_a_callback_that_hangs_holds_up_nobody(ask: Ask, sim: Sim) -> None:
    released = threading.Event()
    entered = threading.Event()

    def hanging(_: str) -> None:
        entered.set()
        released.wait(20)

    try:
        stuck = agents.start(ask(), hanging)
        assert entered.wait(10)
        free: list[Future[AgentAnswer]] = [agents.start(ask()) for _ in range(5)]
        done, _ = wait_for_futures([stuck, *free], timeout=10)
        assert len(done) == 6
    finally:
        released.set()


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


def test_calls_spread_over_as_many_clients_as_they_need_and_come_back_to_the_first() -> None:
    agents.shutdown()
    loop = agent_loop.current()
    release = asyncio.Event()

    async def work(_: agent_loop.AgentLoop) -> int:
        used = id(loop.http)
        await release.wait()
        return used

    calls = [loop.submit(work) for _ in range(3 * agent_loop.CALLS_A_CLIENT)]
    wait_until(lambda: len(loop._calls) == len(calls))
    loop._loop.call_soon_threadsafe(release.set)
    used = Counter(call.result(5) for call in calls)
    assert list(used.values()) == [agent_loop.CALLS_A_CLIENT] * 3
    assert loop.submit(work).result(5) == id(loop._clients[0].http)
