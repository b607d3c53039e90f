"""Compose file, image and Kubernetes manifests: valid, hardened, and about commands, ports, variables and files that exist."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import typer
import yaml

from core.settings import Settings
from services.journey_plan import Queue
from tests.deploy.tools import DEPLOY, ROOT, load_yaml
from worker.cli import app as cli

COMPOSE = load_yaml(ROOT / "docker-compose.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("anmei")}
BASE = DEPLOY / "kubernetes/base"
MANIFESTS = [
    document
    for path in sorted(BASE.glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for document in yaml.safe_load_all(path.read_text())
]
# Old enough to be everywhere, new enough for everything used here.
KUBERNETES_VERSIONS = ("1.30", "1.36")
VARIABLES = {f"ANMEI_{name.upper()}" for name in Settings.model_fields}
PORTS = {
    "api": Settings.model_fields["api_port"].default,
    "mcp": Settings.model_fields["mcp_port"].default,
    "beat": Settings.model_fields["metrics_port"].default,
    "flower": Settings.model_fields["flower_port"].default,
}


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {manifest["metadata"]["name"]: manifest for manifest in MANIFESTS if manifest["kind"] == kind}


def pods() -> dict[str, dict[str, Any]]:
    found = of_kind("Deployment") | of_kind("Job")
    return {name: manifest["spec"]["template"]["spec"] for name, manifest in found.items()}


def commands() -> list[Any]:
    named = [pytest.param(service["command"], id=f"compose {name}") for name, service in OURS.items()]
    return named + [pytest.param(pod["containers"][0]["args"], id=f"kubernetes {name}") for name, pod in pods().items()]


@pytest.mark.parametrize("arguments", commands())
def test_every_command_is_one_of_ours_with_options_it_knows(arguments: list[str]) -> None:
    group: Any = typer.main.get_command(cli)
    verb = group.commands[arguments[0]]
    context = verb.make_context(arguments[0], list(arguments[1:]))
    if arguments[0] == "worker":
        assert set(context.params["queues"].split(",")) <= set(Queue)


@pytest.mark.parametrize("where", ["compose", "kubernetes"])
def test_every_queue_has_exactly_one_kind_of_worker(where: str) -> None:
    named = [service["command"] for service in OURS.values()]
    if where == "kubernetes":
        named = [pod["containers"][0]["args"] for pod in pods().values()]
    workers = [arguments for arguments in named if arguments[0] == "worker"]
    consumed = [queue for one in workers for queue in one[one.index("--queues") + 1].split(",")]
    assert sorted(consumed) == sorted(Queue)


def test_compose_is_valid_by_the_compose_specification() -> None:
    schemas = resources.files("check_jsonschema").joinpath("builtin_schemas/vendor")
    schema = json.loads(schemas.joinpath("compose-spec.json").read_text())
    jsonschema.validators.validator_for(schema)(schema).validate(COMPOSE)


def test_variables_ports_and_paths_of_compose_exist_in_the_code() -> None:
    for name, service in OURS.items():
        named = {variable for variable in service["environment"] if variable.startswith("ANMEI_")}
        assert named <= VARIABLES
        for variable, port in (("ANMEI_API_PORT", "api"), ("ANMEI_MCP_PORT", "mcp"), ("ANMEI_FLOWER_PORT", "flower")):
            assert service["environment"][variable] == str(PORTS[port])
        assert service["environment"]["ANMEI_METRICS_PORT"] == str(PORTS["beat"])
        published = [mapping.rsplit(":", 2)[1:] for mapping in service.get("ports", [])]
        assert published in ([], [[str(PORTS.get(name))] * 2])
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists()
            else:
                assert source in COMPOSE["volumes"]


def test_every_probe_asks_what_its_process_answers() -> None:
    served = {"api": _api_paths(), "mcp": _mcp_paths(), "beat": {"/healthz", "/metrics"}, "flower": _flower_paths()}
    for name, service in OURS.items():
        if name == "migrate":
            continue
        test = " ".join(service["healthcheck"]["test"])
        if (asked := re.search(r"127\.0\.0\.1:(\d+)(/\w+)", test)) is None:
            assert importlib.util.find_spec(test.split()[-1])
            continue
        assert int(asked.group(1)) == PORTS[name]
        assert asked.group(2) in served[name]
    for name, pod in pods().items():
        container = pod["containers"][0]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked_path = container.get(probe, {}).get("httpGet", {}).get("path")
            assert asked_path is None or asked_path in served[name]
            if command := container.get(probe, {}).get("exec", {}).get("command"):
                assert command[:2] == ["python", "-m"]
                assert importlib.util.find_spec(command[2])
        assert [port["containerPort"] for port in container.get("ports", [])] == [
            PORTS[name] for _ in PORTS.keys() & {name}
        ]


def test_secrets_come_from_the_environment_file_and_are_demanded() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    named = set(re.findall(r"\$\{(\w+)", text))
    offered = set(re.findall(r"^#?(\w+)=", (DEPLOY / "env.example").read_text(), flags=re.M))
    assert named == offered
    assert not re.findall(r"^(?!#)\w*(?:PASSWORD|KEY)=.+", (DEPLOY / "env.example").read_text(), flags=re.M)
    for secret in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "ANMEI_SECRET_KEY", "GRAFANA_ADMIN_PASSWORD"):
        assert f"${{{secret}:?" in text
    ignored = subprocess.run(["git", "check-ignore", "-q", ".env"], cwd=ROOT, check=False).returncode
    assert ignored == 0


def test_our_containers_have_no_root_no_capabilities_and_a_read_only_file_system() -> None:
    assert re.search(r"^USER 10001:10001$", (ROOT / "Dockerfile").read_text(), flags=re.M)
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "user" not in service
        assert "privileged" not in service
    for pod in pods().values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["automountServiceAccountToken"] is False
        assert pod["containers"][0]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_the_image_is_built_from_files_that_exist_and_knows_the_ports() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, flags=re.M):
        for source in line.split():
            assert (ROOT / source).exists()
    exposed = re.search(r"^EXPOSE (.+)$", text, flags=re.M)
    assert exposed
    assert {int(port) for port in exposed.group(1).split()} == set(PORTS.values())
    assert set(re.findall(r"ANMEI_\w+", text)) <= VARIABLES
    uv = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), flags=re.M)
    assert uv
    assert f"ARG UV_VERSION={uv.group(1)}\n" in text


def test_the_image_holds_every_package_that_is_installed() -> None:
    packages = set(
        re.findall(r'"(\w+)"', re.findall(r"^packages = \[(.+)\]$", (ROOT / "pyproject.toml").read_text(), re.M)[0])
    )
    allowed = set(re.findall(r"^!(\w+)$", (ROOT / ".dockerignore").read_text(), flags=re.M))
    assert packages == allowed


def test_prometheus_scrapes_the_services_of_compose_at_their_ports() -> None:
    configuration = load_yaml(DEPLOY / "prometheus/prometheus.yml")
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in configuration["scrape_configs"]}
    assert targets == {
        "anmei-api": [f"api:{PORTS['api']}"],
        "anmei-mcp": [f"mcp:{PORTS['mcp']}"],
        "anmei-worker": [f"beat:{PORTS['beat']}"],
        "prometheus": ["localhost:9090"],
    }
    assert {"api", "mcp", "beat"} <= OURS.keys()


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_manifests_are_valid_by_the_schemas_of_kubernetes(version: str) -> None:
    for manifest in [*MANIFESTS, load_yaml(DEPLOY / "kubernetes/secret.example.yaml")]:
        kubernetes_validate.validate(manifest, version, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(MANIFESTS[0] | {"unknown": 1}, version, strict=True)


def test_the_kustomization_lists_every_manifest() -> None:
    listed = load_yaml(BASE / "kustomization.yaml")["resources"]
    assert sorted([*listed, "kustomization.yaml"]) == sorted(path.name for path in BASE.glob("*.yaml"))


def test_references_between_manifests_resolve() -> None:
    deployments = of_kind("Deployment")
    assert set(deployments) | {"migrate"} == set(OURS)
    for name in of_kind("Service"):
        assert name in deployments
    for kind in ("HorizontalPodAutoscaler", "PodDisruptionBudget"):
        for name, manifest in of_kind(kind).items():
            assert name in deployments
            target = manifest["spec"].get("scaleTargetRef", {}).get("name", name)
            assert target == name
            # A fixed number would undo the autoscaler's at every apply.
            assert kind != "HorizontalPodAutoscaler" or "replicas" not in deployments[name]["spec"]
    for pod in pods().values():
        references = pod["containers"][0]["envFrom"]
        assert references == [{"configMapRef": {"name": "anmei"}}, {"secretRef": {"name": "anmei"}}]
        assert pod["serviceAccountName"] in of_kind("ServiceAccount")
    for manifest in of_kind("NetworkPolicy").values():
        for rule in manifest["spec"]["podSelector"].get("matchExpressions", []):
            assert set(rule["values"]) <= set(deployments)


def test_variables_of_the_manifests_exist_in_the_code_and_ports_are_the_defaults() -> None:
    configured = of_kind("ConfigMap")["anmei"]["data"]
    secret = load_yaml(DEPLOY / "kubernetes/secret.example.yaml")["stringData"]
    assert not configured.keys() & secret.keys()
    assert configured.keys() | secret.keys() <= VARIABLES
    assert {"ANMEI_DATABASE_URL", "ANMEI_BROKER_URL", "ANMEI_SECRET_KEY"} <= secret.keys()
    assert {name: configured[f"ANMEI_{name}_PORT"] for name in ("API", "MCP", "FLOWER", "METRICS")} == {
        "API": str(PORTS["api"]),
        "MCP": str(PORTS["mcp"]),
        "FLOWER": str(PORTS["flower"]),
        "METRICS": str(PORTS["beat"]),
    }
    for name, manifest in of_kind("Service").items():
        assert [port["port"] for port in manifest["spec"]["ports"]] == [PORTS[name]]


def test_kustomize_builds_the_base() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed: https://kubernetes.io/docs/tasks/tools/")
    built = subprocess.run([kubectl, "kustomize", str(BASE)], capture_output=True, text=True, check=True).stdout
    documents = list(yaml.safe_load_all(built))
    assert len(documents) == len(MANIFESTS)
    for document in documents:
        kubernetes_validate.validate(document, KUBERNETES_VERSIONS[-1], strict=True)
        if document["kind"] == "Deployment":
            labels = document["spec"]["template"]["metadata"]["labels"]
            assert labels["app.kubernetes.io/part-of"] == "anmei"
            assert document["spec"]["template"]["spec"]["containers"][0]["image"].startswith("anmei:")


def _api_paths() -> set[str]:
    from api_hooks.app import create_app

    return set(create_app().openapi()["paths"])


def _mcp_paths() -> set[str]:
    from mcp_server.app import create_app

    return {route.path for route in create_app().routes if hasattr(route, "path")}


def _flower_paths() -> set[str]:
    from flower.urls import handlers

    return {str(handler[0]) if isinstance(handler, tuple) else handler.regex.pattern for handler in handlers}


def test_every_file_the_documents_name_exists() -> None:
    for document in (ROOT / "docs/operations.md", ROOT / "docs/runbook.md"):
        for named in re.findall(
            r"(?<![\w/.])(?<!exec )((?:deploy|docs|worker|services|tests)/[\w./-]+\w)", document.read_text()
        ):
            assert (ROOT / named).exists(), f"{document.name}: {named}"
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (Path(document.parent) / target).exists(), f"{document.name}: {target}"


def test_every_anmei_command_in_the_documents_is_one() -> None:
    named = []
    for document in (ROOT / "docs/operations.md", ROOT / "docs/runbook.md"):
        for command in re.findall(r"(?:^|`|exec api )anmei ([a-z][^\n`]*)", document.read_text(), flags=re.M):
            named.append(shlex.split(command))
    assert len(named) > 15
    for words in named:
        command: Any = typer.main.get_command(cli)
        # `anmei mcp` serves, and has commands besides: a group that runs alone.
        while hasattr(command, "commands") and not (
            command.invoke_without_command and not set(words[:1]) & set(command.commands)
        ):
            assert words, "a group alone is no command"
            command = command.commands[words.pop(0)]
        if "--help" not in words and not (words == [] and command.name == "show"):
            command.make_context(command.name, words)
