"""The fault suite's stack with the MCP server beside it, and the simulated agent authorised for it."""

import json
import shutil
from types import TracebackType
from typing import Any, Self

import httpx

from bench.processes import answers, free_port
from tests.faults.processes import Role
from tests.faults.run import BROKERS
from tests.faults.stack import AGENT_KEY, CELERY, Stack
from tests.gateway_proof.seed import ADMIN, PASSWORD
from tests.support.waiting import START_SECONDS, wait_until

OPEN = "SELECT count(*) FROM journeys WHERE status IN ('accepted', 'running')"
SETTLE_SECONDS = 180.0


class ProofStack(Stack):
    """One stack with every role the gateway touches. `settings` are laid over the automation's."""

    def __init__(
        self,
        *,
        agent_arguments: tuple[str, ...] = ("--latency-scale", "0"),
        settings: dict[str, Any] | None = None,
        agent_threads: int = 64,
    ) -> None:
        factory: object = BROKERS["redis"]
        super().__init__(factory, agent_arguments=agent_arguments)
        self._settings = settings or {}
        self._agent_threads = agent_threads
        self.mcp_port = free_port()

    def __enter__(self) -> Self:
        super().__enter__()
        wait_until(
            lambda: answers(f"http://127.0.0.1:{self.mcp_port}/readyz"), timeout_seconds=START_SECONDS, poll_seconds=0.1
        )
        key = (self.folder / "mcp_key").read_text()
        self.simulator("POST", "authorize", {"mcp_url": f"http://127.0.0.1:{self.mcp_port}/mcp", "mcp_key": key})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if kind is None:
            # What failed is kept for whoever looks into it.
            shutil.rmtree(self.folder, ignore_errors=True)

    def simulator(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Call the simulated agent's control endpoint."""
        url = f"http://127.0.0.1:{self.agent_port}/__sim__/{path}"
        return httpx.request(method, url, json=body, timeout=20).raise_for_status().json()

    def admin(self) -> httpx.Client:
        """Return an HTTP client signed in as the administrator, based at /api/v1."""
        base = f"{self.api_url}/api/v1"
        login = httpx.post(f"{base}/auth/login", json={"username": ADMIN, "password": PASSWORD}, timeout=20)
        token = login.raise_for_status().json()["data"]["access_token"]
        return httpx.Client(base_url=base, timeout=60, headers={"authorization": f"Bearer {token}"})

    def settle(self) -> None:
        """Wait until no journey is open any more."""
        wait_until(lambda: self.scalar(OPEN) == 0, timeout_seconds=SETTLE_SECONDS, poll_seconds=0.2)

    def base_environment(self) -> dict[str, str]:
        return {**super().base_environment(), "ANMEI_MCP_PORT": str(self.mcp_port)}

    def _roles(self) -> list[Role]:
        roles = {role.name: role for role in super()._roles()}
        agents = (*CELERY, "--queues", "agents", "--pool", "threads", "--concurrency", str(self._agent_threads))
        roles["agents"] = self._role("agents", agents)
        roles["mcp"] = self._role("mcp", ("-m", "worker.cli", "mcp"))
        return list(roles.values())

    def _seed(self) -> None:
        super()._seed()
        self._run("-m", "tests.gateway_proof.seed", json.dumps(self._settings))


__all__ = ["AGENT_KEY", "ProofStack"]
