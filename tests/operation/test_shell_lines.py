"""Every shell line of README, operations and runbook: run as it stands, or held against the files it is about."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.settings import child_environment
from tests.operation.conftest import Product
from worker.embedded.postgres import binaries

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "docs/operations.md", "docs/runbook.md")
NIL = "01890000-0000-7000-8000-000000000000"


def blocks() -> list[tuple[str, str]]:
    """Each ```sh block with the document it stands in."""
    return [
        (document, block)
        for document in DOCUMENTS
        for block in re.findall(r"^```sh\n(.*?)^```$", (ROOT / document).read_text(), flags=re.M | re.S)
    ]


# What cannot be run line by line because its lines are one script.
SCRIPTS = ("run=${ANMEI_DATA_DIR", "tools=$(python")


def lines() -> list[tuple[str, str]]:
    found = []
    for document, block in blocks():
        if block.startswith(SCRIPTS):
            found.append((document, block))
        else:
            whole = block.replace("\\\n", " ")
            found += [(document, line) for line in whole.splitlines() if line.strip() and not line.startswith("#")]
    return found


class Shell:
    """Runs lines as a person would beside the running product."""

    def __init__(self, product: Product, folder: Path) -> None:
        self.product, self.folder = product, folder
        # `anmei` and `python` are those of the tests.
        tools = folder / "bin"
        tools.mkdir(exist_ok=True)
        (tools / "anmei").write_text(f'#!/bin/sh\nexec {sys.executable} -P -m worker.cli "$@"\n')
        (tools / "python").write_text(f'#!/bin/sh\nexec {sys.executable} -P "$@"\n')
        for tool in tools.iterdir():
            tool.chmod(0o755)
        path = os.pathsep.join([str(tools), str(binaries()), os.environ["PATH"]])
        self.environment = child_environment(product.stack.environment | {"PATH": path, "PYTHONPATH": ROOT})

    def run(self, line: str, *, cwd: Path = ROOT, code: int = 0, **more: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", line],
            cwd=cwd,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def shell(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(product, tmp_path_factory.mktemp("shell"))


def anmei(shell: Shell, line: str) -> None:
    """A command of ours, beside the running product; a journey or a dead letter that is nobody's is answered as one."""
    if "user create admin" in line:
        # The product's start has made that one.
        line = line.replace("create admin", "create another-admin")
    if line.startswith("anmei journeys show"):
        line = line.replace(NIL, next(iter(shell.product.journeys)))
        assert "the journey ended well" in shell.run(line)
        return
    if NIL in line:
        shell.run(line, code=1)
        return
    shell.run(line, cwd=shell.folder if "support-bundle" in line else ROOT)


def registration(shell: Shell, line: str) -> None:
    """The README's webhook, by curl and openssl alone."""
    assert '"status":"accepted"' in shell.run(line)


def make(shell: Shell, line: str) -> None:
    """A target: that it is one; the demo is run by tests/launcher, the tests by whoever reads this."""
    shell.run(f"make -n {line.partition('#')[0].removeprefix('make')}")


def copy_settings(shell: Shell, line: str) -> None:
    """In a folder of its own, where the file it copies is."""
    (shell.folder / "deploy").mkdir()
    shutil.copy(ROOT / "deploy/env.example", shell.folder / "deploy")
    shell.run(line, cwd=shell.folder)
    assert (shell.folder / ".env").stat().st_mode & 0o777 == 0o600


def compose(shell: Shell, line: str) -> None:
    """Docker is not here: services and profiles must be those of the file; what runs inside runs beside the product."""
    described: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    words = shlex.split(line.removeprefix("docker compose"))
    if words[:1] == ["--profile"]:
        assert any(words[1] in service.get("profiles", []) for service in described["services"].values())
        words = words[2:]
    verb, *rest = words
    assert verb in {"up", "exec", "run", "build", "ps", "logs"}
    named = [word for word in rest if not word.startswith("-")]
    if verb in {"exec", "run"}:
        assert named[0] in described["services"]
        inside = line.partition(f" {named[0]} ")[2]
        if named[0] == "postgres":
            database(shell, inside)
        elif verb == "exec":
            anmei(shell, inside)
        else:
            # The image's entry point is `anmei`.
            anmei(shell, f"anmei {inside}")
        return
    assert [word for word in named if word not in described["services"]] == []


def database(shell: Shell, inside: str) -> None:
    """The tools of PostgreSQL, on the product's own server; restored into a database made for it."""
    host = shell.product.stack.described["database_url"].partition("?host=")[2]
    if inside.startswith("pg_restore"):
        shell.run("createdb --username anmei restored", PGHOST=host)
        try:
            shell.run(inside.replace("--dbname anmei", "--dbname restored"), cwd=shell.folder, PGHOST=host)
            count = "psql --username anmei --dbname restored --tuples-only --command 'SELECT count(*) FROM journeys'"
            assert int(shell.run(count, PGHOST=host)) >= len(shell.product.journeys)
        finally:
            shell.run("dropdb --username anmei restored", PGHOST=host)
    else:
        shell.run(inside, cwd=shell.folder, PGHOST=host)
        assert (shell.folder / "anmei.dump").stat().st_size > 10_000


def dump(shell: Shell, line: str) -> None:
    """The embedded server's own dump."""
    shell.run(line.replace("anmei.dump", str(shell.folder / "embedded.dump")))
    assert "TABLE DATA public journeys" in shell.run(f"pg_restore --list {shell.folder / 'embedded.dump'}")


def kubernetes(shell: Shell, line: str) -> None:
    """No cluster is here: namespaces, folders, jobs, deployments and secrets must be those of the manifests."""
    words = shlex.split(line)[1:]
    documents = [
        document
        for path in (ROOT / "deploy/kubernetes/base").glob("*.yaml")
        for document in yaml.safe_load_all(path.read_text())
        if document
    ]
    names = {(one["kind"], one["metadata"]["name"]) for one in documents if "name" in one.get("metadata", {})}
    text = yaml.safe_dump_all(documents)
    if words[0] == "-n":
        assert ("Namespace", words[1]) in names
        words = words[2:]
    match words:
        case ["apply", "-k", folder]:
            assert (ROOT / folder / "kustomization.yaml").exists()
        case ["create", "namespace", name]:
            assert ("Namespace", name) in names
        case ["create", "secret", "generic", name, *_]:
            assert re.search(rf"secretRef:\s+name: {name}\n", text)
        case ["delete", "job", name, "--ignore-not-found"]:
            assert ("Job", name) in names
        case ["label", "namespace", _, label]:
            key, _, value = label.partition("=")
            assert f"{key}: '{value}'" in text
        case ["rollout", "restart", deployment]:
            assert ("Deployment", deployment.removeprefix("deployment/")) in names
        case _:
            pytest.fail(f"nobody knows how to check {line}")


def promtool(shell: Shell, line: str) -> None:
    """The checks at once; the unit tests, which take a minute, are run by tests/deploy: here, that their files are those."""
    if line.startswith("promtool test"):
        named = {Path(word).name for word in shlex.split(line)[3:]}
        assert named == {path.name for path in (ROOT / "deploy/prometheus/tests").glob("*.yml")}
        return
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    assert "FAILED" not in shell.run(line)


RULES: dict[str, Callable[[Shell, str], None]] = {
    r"run=\$\{ANMEI_DATA_DIR": registration,
    r"tools=\$\(python": dump,
    r"anmei ": anmei,
    r"make ": make,
    r"cp deploy/env\.example": copy_settings,
    r"docker compose ": compose,
    r"kubectl ": kubernetes,
    r"promtool ": promtool,
}


def test_there_are_lines_to_look_at() -> None:
    assert {document for document, _ in lines()} == set(DOCUMENTS)
    assert len(lines()) >= 25


@pytest.mark.parametrize(("document", "line"), lines(), ids=[f"{document}-{line[:50]}" for document, line in lines()])
def test_the_line_does_what_it_says(shell: Shell, document: str, line: str) -> None:
    found = [check for pattern, check in RULES.items() if re.match(pattern, line)]
    assert len(found) == 1, f"{document}: nobody knows how to run {line!r}: add it to RULES"
    found[0](shell, line)
