"""Starts simulators as the processes they really are, and drives them over HTTP."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
THROWAWAY_MCP = Path(__file__).with_name("throwaway_mcp.py")
MCP_KEY = "mcp_key_test"


@contextmanager
def running(*command: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start ``python <command>``, wait for its address, and end it afterwards."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on "), f"{command} said {line!r}"
        yield line.split()[-1], process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def eventually(read: Callable[[], Any], wanted: Callable[[Any], bool], *, seconds: float = 5.0) -> Any:
    """Poll until the value is as wanted and return it; fails with the last value seen."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not wanted(value := read()):
        assert time.monotonic() < deadline, f"not within {seconds} s; last seen: {value!r}"
        pause.wait(0.02)
    return value


@dataclass
class Sim:
    """A running Dify simulator with the calls its tests make."""

    url: str
    http: httpx.Client

    def body(self, user_id: str = "jrn_mei", **changes: Any) -> dict[str, Any]:
        inputs = {"user_id": user_id, "locale": "zh-CN", "unknown": "dropped"}
        return {"inputs": inputs, "query": "请欢迎新客户", "user": "end-user", "response_mode": "streaming"} | changes

    def post(self, path: str, body: Any, key: str = "app-agent", **more: Any) -> httpx.Response:
        return self.http.post(self.url + path, json=body, headers={"Authorization": f"Bearer {key}"}, **more)

    def get(self, path: str, key: str = "app-agent") -> httpx.Response:
        return self.http.get(self.url + path, headers={"Authorization": f"Bearer {key}"})

    def chat(self, user_id: str = "jrn_mei", key: str = "app-agent", **changes: Any) -> list[dict[str, Any]]:
        response = self.post("/v1/chat-messages", self.body(user_id, **changes), key)
        assert response.status_code == 200, response.text
        return events_of(response.text)

    @contextmanager
    def stream(
        self, path: str = "/v1/chat-messages", key: str = "app-agent", **changes: Any
    ) -> Iterator[httpx.Response]:
        headers = {"Authorization": f"Bearer {key}"}
        with self.http.stream("POST", self.url + path, json=self.body(**changes), headers=headers) as response:
            yield response

    def fault(self, kind: str, **more: Any) -> None:
        assert self.http.post(self.url + "/__sim__/faults", json={"kind": kind} | more).status_code == 201

    def runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get(self.url + "/__sim__/runs").json()["runs"]
        return found

    def finished_run(self) -> dict[str, Any]:
        """The newest run, once it has ended."""
        run: dict[str, Any] = eventually(lambda: self.runs()[-1], lambda run: run["finished_at"] is not None)
        return run


def events_of(text: str) -> list[dict[str, Any]]:
    """The JSON events of a stream; a bare ping is no event."""
    blocks = [block for block in text.split("\n\n") if block]
    return [json.loads(block.removeprefix("data: ")) for block in blocks if block != "event: ping"]


def answer_in(events: list[dict[str, Any]]) -> str:
    return "".join(event["answer"] for event in events if event["event"] in ("agent_message", "message"))
