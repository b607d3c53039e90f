"""Every route, as described, under input nobody sensible sends: an answer that is documented, never a failure of ours."""

import itertools
import json
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from core.ids import new_id
from tests.api.conftest import Person

ODD_TEXTS = [
    "",
    "\x00",
    "x" * 300,
    "%",
    "_",
    "'",
    "9" * 40,
    "-1",
    "0",
    "null",
    "ÿ",
    "2026-13-01",
    "😀",
    "9999-12-31T23:59:59Z",
]
ODD_BODIES: list[Any] = [None, [], "x", 1, {}, {"\x00": "\x00"}, {"a": {"b": [1, 2, {"c": None}]}}]
ODD_VALUES: list[Any] = [
    None,
    "",
    "\x00",
    "x" * 5000,
    -1,
    0,
    2**40,
    2**70,
    1.5,
    True,
    [],
    ["\x00"],
    {},
    {"a": "\x00"},
    str(new_id()),
]


def operations(app: FastAPI) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, found in app.openapi()["paths"].items()
        for method, operation in found.items()
        # Signing out would end the caller's session under way.
        if path.startswith("/api/v1") and not path.endswith("/logout")
    ]


def properties(app: FastAPI, operation: dict[str, Any]) -> list[str]:
    """Return the names of the body's fields."""
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    for one in schema.get("anyOf", [schema]):
        if "$ref" in one:
            found = app.openapi()["components"]["schemas"][one["$ref"].rsplit("/", 1)[1]]
            return list(found.get("properties", {}))
    return []


def paths(path: str, operation: dict[str, Any]) -> list[str]:
    """Return the path with ids nobody has, and with odd ones."""
    names = [one["name"] for one in operation.get("parameters", []) if one["in"] == "path"]
    if not names:
        return [path]
    filled = [{name: str(new_id()) for name in names}] + [
        dict.fromkeys(names, odd) for odd in ("x", "%00", "%2F", "9" * 40)
    ]
    found = []
    for values in filled:
        one = path
        for name, value in values.items():
            one = one.replace("{" + name + "}", "registration-automation" if name == "name" else value)
        found.append(one)
    return found


def requests(app: FastAPI, method: str, path: str, operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    plain = paths(path, operation)
    found: list[tuple[str, dict[str, Any]]] = [(one, {}) for one in plain]
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "query":
            found += [(plain[0], {"params": {parameter["name"]: odd}}) for odd in ODD_TEXTS]
        elif parameter["in"] == "header":
            found += [(plain[0], {"headers": {parameter["name"]: odd}}) for odd in ("*", '"x"', "9" * 40, 'W/"0"', "")]
    if method in ("post", "put", "patch"):
        found += [(plain[0], {"json": body}) for body in ODD_BODIES]
        names = properties(app, operation)
        found += [(plain[0], {"json": {name: value}}) for name, value in itertools.product(names, ODD_VALUES)]
        found += [(plain[0], {"json": dict.fromkeys(names, value)}) for value in ODD_VALUES]
        found += [(plain[0], {"content": b"\xff\xfe", "headers": {"content-type": "application/json"}})]
        found += [(plain[0], {"content": b'{"a": NaN}', "headers": {"content-type": "application/json"}})]
        found += [(plain[0], {"content": b"[" * 100_000, "headers": {"content-type": "application/json"}})]
    return found


@pytest.mark.timeout(240)
def test_odd_input_never_makes_the_api_fail(
    app: FastAPI, client: TestClient, admin: Person, consultant: Person, customer: Person
) -> None:
    sent, failures = 0, []
    for method, path, operation in operations(app):
        # Whoever may call it: the administrator, or the one whose conversation it would be.
        who = consultant if "claim" in path or "/me/" in path else customer if "/messages/" in path else admin
        for url, options in requests(app, method, path, operation):
            headers = who.headers | options.pop("headers", {})
            answer = client.request(method, url, headers=headers, **options)
            sent += 1
            documented = answer.status_code < 500 or (answer.status_code == 503 and "retry-after" in answer.headers)
            is_problem = answer.status_code < 400 or answer.headers["content-type"] == "application/problem+json"
            if not documented or not is_problem:
                failures.append(f"{method} {url} {str(options)[:80]}: {answer.status_code} {answer.text[:160]}")
            elif answer.status_code < 300 and answer.headers["content-type"] == "application/json":
                assert json.loads(answer.content)["success"] is True
    assert not failures, "\n".join(failures[:40])
    assert sent > 2000
