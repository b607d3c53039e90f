"""Starts simulators as the processes they really are, and drives them over HTTP."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.waiting import wait_until

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
        return wait_until(lambda: next((run for run in self.runs()[-1:] if run["finished_at"] is not None), {}))


def events_of(text: str) -> list[dict[str, Any]]:
    """The JSON events of a stream; a bare ping is no event."""
    blocks = [block for block in text.split("\n\n") if block]
    return [json.loads(block.removeprefix("data: ")) for block in blocks if block != "event: ping"]


def answer_in(events: list[dict[str, Any]]) -> str:
    return "".join(event["answer"] for event in events if event["event"] in ("agent_message", "message"))
