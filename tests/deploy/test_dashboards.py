"""Grafana's dashboards: what the boards say, complete, and every panel's query finds data on a real Prometheus."""

import importlib
import json
import random
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import psycopg
import pytest
import yaml

from bench.processes import free_port
from tests.deploy import activity
from tests.deploy.tools import DEPLOY, known_metrics, load_yaml, metric_names, program
from tests.support.waiting import wait_until
from worker.metrics_server import serve

DASHBOARDS = sorted((DEPLOY / "grafana/dashboards").glob("*.json"))
JOBS = ("anmei-api", "anmei-mcp", "anmei-worker")

Ask = Callable[[str], list[float]]


def load(path: Path) -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads(path.read_text())
    return dashboard


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries() -> dict[str, str]:
    """Return every panel's queries by name, with the choices of the board's variables made."""
    found = {
        f"{path.stem}: {panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "15s")
        for path in DASHBOARDS
        for panel in panels(load(path))
        for target in panel["targets"]
    }
    return {name: re.sub(r"\$(step|agent|tool|group|queue)\b", ".*", expression) for name, expression in found.items()}


@pytest.fixture(scope="module")
def build() -> Iterator[ModuleType]:
    sys.path.insert(0, str(DEPLOY / "grafana"))
    try:
        yield importlib.import_module("build")
    finally:
        sys.path.remove(str(DEPLOY / "grafana"))


def test_the_files_are_what_the_boards_say(build: ModuleType) -> None:
    assert {path: path.read_text() for path in DASHBOARDS} == {
        build.file_of(board): build.rendered(board) for board in build.BOARDS
    }


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_has_a_title_a_unit_a_description_and_its_own_place(path: Path) -> None:
    dashboard = load(path)
    taken: set[tuple[int, int]] = set()
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]


def test_panels_and_variables_name_only_metrics_that_exist() -> None:
    known = known_metrics()
    for path in DASHBOARDS:
        dashboard = load(path)
        for panel in panels(dashboard):
            for target in panel["targets"]:
                assert metric_names(target["expr"]) <= known, panel["title"]
        for variable in dashboard["templating"]["list"]:
            metric = variable["definition"].removeprefix("label_values(").split(",")[0]
            assert metric in known


def test_provisioning_names_the_datasource_and_the_place_of_the_dashboards() -> None:
    sources = load_yaml(DEPLOY / "grafana/provisioning/datasources/prometheus.yml")["datasources"]
    providers = load_yaml(DEPLOY / "grafana/provisioning/dashboards/anmei.yml")["providers"]
    compose = load_yaml(DEPLOY.parent / "docker-compose.yml")["services"]["grafana"]
    used = {panel["datasource"]["uid"] for path in DASHBOARDS for panel in panels(load(path))}
    assert used == {source["uid"] for source in sources}
    mounted = {volume.split(":")[0]: volume.split(":")[1] for volume in compose["volumes"]}
    assert {provider["options"]["path"] for provider in providers} == {mounted["./deploy/grafana/dashboards"]}


@pytest.fixture
def prometheus(database: str, tmp_path: Path) -> Iterator[Ask]:
    """Ask a Prometheus that scrapes three metrics servers of ours while journeys happen."""
    binary = program("prometheus", "prometheus")
    servers = {job: serve(0, "127.0.0.1") for job in JOBS}
    port = free_port()
    (tmp_path / "prometheus.yml").write_text(_configuration({job: server.port for job, server in servers.items()}))
    command = [
        *(binary, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stop = threading.Event()
    happening = threading.Thread(target=_keep_happening, args=(database, stop))
    happening.start()

    def ask(expression: str) -> list[float]:
        return _ask(port, expression)

    try:
        wait_until(lambda: process.poll() is not None or _is_ready(port), timeout_seconds=30)
        yield ask
    finally:
        stop.set()
        happening.join()
        process.terminate()
        process.wait(10)
        for server in servers.values():
            server.close()


def test_every_panel_finds_data(prometheus: Ask) -> None:
    missing = queries()
    assert len(missing) > 50
    assert not [expression for expression in missing.values() if "$" in expression]

    def all_found() -> bool:
        for name, expression in list(missing.items()):
            if prometheus(expression):
                del missing[name]
        return not missing

    try:
        wait_until(all_found, timeout_seconds=60, poll_seconds=1)
    except AssertionError:
        pytest.fail("no data for " + "; ".join(f"{name}: {expression}" for name, expression in missing.items()))


def _keep_happening(database: str, stop: threading.Event) -> None:
    chance = random.Random(1)
    with psycopg.connect(database, autocommit=True) as connection:
        while not stop.is_set():
            if connection.execute("SELECT count(*) FROM agents").fetchone() == (0,):
                activity.prepare(connection)
            activity.one_round(connection, chance)
            stop.wait(0.2)


def _configuration(ports: dict[str, int]) -> str:
    """Our own configuration and rules, faster, and with the test's targets."""
    configuration = load_yaml(DEPLOY / "prometheus/prometheus.yml")
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(path) for path in (DEPLOY / "prometheus/rules").glob("*.yml")]
    jobs = {job["job_name"]: job for job in configuration["scrape_configs"]}
    configuration["scrape_configs"] = [
        jobs[job] | {"static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in ports.items()
    ]
    return yaml.safe_dump(configuration)


def _ask(port: int, expression: str) -> list[float]:
    with urlopen(f"http://127.0.0.1:{port}/api/v1/query?{urlencode({'query': expression})}", timeout=10) as answer:
        result = json.load(answer)["data"]["result"]
    return [value for series in result if (value := float(series["value"][1])) == value]


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False
