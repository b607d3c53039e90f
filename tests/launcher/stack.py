"""`anmei up` as a user runs it, for tests."""

import json
from pathlib import Path
from typing import Any

import psycopg

from tests.support.processes import OwnProcess
from tests.support.waiting import wait_until
from worker.processes import Identity


class Stack:
    """`anmei up` in a data directory of its own."""

    def __init__(self, data_dir: Path, api_port: int, **more: object) -> None:
        self.data_dir = data_dir
        self.environment: dict[str, object] = {
            "ANMEI_DATA_DIR": data_dir,
            "ANMEI_DATABASE_URL": None,
            "ANMEI_BROKER_URL": None,
            "ANMEI_SECRET_KEY": None,
            # Away from what a developer may have running; each moves on where it is taken.
            "ANMEI_API_PORT": api_port,
            "ANMEI_MCP_PORT": 18001,
            "ANMEI_FLOWER_PORT": 15555,
            "ANMEI_METRICS_PORT": 19808,
            **more,
        }
        self.launcher = self.command("up")

    def command(self, *arguments: str) -> OwnProcess:
        return OwnProcess(["-m", "worker.cli", *arguments], self.environment)

    @property
    def described(self) -> dict[str, Any]:
        described: dict[str, Any] = json.loads((self.data_dir / "run.json").read_text())
        return described

    @property
    def pids(self) -> dict[str, list[int]]:
        pids: dict[str, list[int]] = {}
        for process in self.described["processes"]:
            pids.setdefault(process["role"], []).append(process["pid"])
        return pids

    def identities(self) -> list[Identity]:
        return [Identity.of(pid) for pids in self.pids.values() for pid in pids]

    def register(self) -> dict[str, Any]:
        """Send a registration through the CLI; return the answer's data."""
        with self.command("register", "--json") as command:
            assert command.wait() == 0, command.output
            answer: dict[str, Any] = json.loads(command.output)["body"]["data"]
        return answer

    def journey_status(self, journey_id: str) -> str:
        with psycopg.connect(self.described["database_url"]) as connection:
            row = connection.execute("SELECT status FROM journeys WHERE id = %s", (journey_id,)).fetchone()
        assert row is not None
        return str(row[0])

    def works(self) -> str:
        """Pass when a registration goes all the way; return its journey."""
        answer = self.register()
        assert answer["status"] == "accepted"
        wait_until(lambda: self.journey_status(answer["journey_id"]) == "succeeded", timeout_seconds=30)
        return str(answer["journey_id"])
