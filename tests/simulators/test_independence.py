"""The simulators know nothing of the product they stand opposite to."""

import ast

from tests.simulators.simproc import ROOT

OURS = {
    "admin",
    "api_hooks",
    "bench",
    "clients",
    "core",
    "mcp_server",
    "migrations",
    "models",
    "queries",
    "services",
    "tasks",
}


def imported(source: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


def test_simulators_import_no_package_of_the_product() -> None:
    files = sorted((ROOT / "simulators").rglob("*.py"))
    assert files
    used = set().union(*(imported(file.read_text(encoding="utf-8")) for file in files))
    assert used & (OURS | {"worker", "tests"}) == set()
    assert {"starlette", "httpx"} <= used
