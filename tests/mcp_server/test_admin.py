"""MCP's administration over REST, as an administrator's tools use it."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api_hooks import mcp_admin
from api_hooks.auth import current_user
from api_hooks.responses import install_error_handlers
from core.errors import DatabaseUnavailableError, NotAuthenticatedError
from core.ids import new_id
from mcp_server.calls import ToolRunner
from models import User
from services import reveal
from services.auth import Identity
from services.permissions import Role
from tests.mcp_server.support import Client, RunningServer, group_id, key_of, logged, rows

# Said in the tests' names, so it is the same in every process.
NOBODY = "01980000-0000-7000-8000-000000000000"


def someone(role: Role) -> Identity:
    return Identity(
        user_id=new_id(), username=f"the {role}", roles=frozenset({role}), session_id=new_id(), consultant_id=None
    )


@pytest.fixture
def application() -> FastAPI:
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(mcp_admin.router, prefix="/api/v1")
    app.dependency_overrides[current_user] = lambda: someone(Role.ADMIN)
    return app


@pytest.fixture
def admin(application: FastAPI) -> Iterator[TestClient]:
    with TestClient(application, base_url="http://test/api/v1/mcp/") as client:
        yield client


def data(response: Any, status: int = 200) -> Any:
    assert response.status_code == status, response.text
    body = response.json()
    assert body["success"] is True
    return body["data"]


def tool_id(admin: TestClient, name: str) -> str:
    return next(tool["id"] for tool in data(admin.get("tools"))["items"] if tool["tool_name"] == name)


def test_a_group_lives_from_creation_to_deletion(admin: TestClient, server: RunningServer) -> None:
    made = data(admin.post("groups", json={"name": "partners", "description": "合作方"}), 201)
    assert made["api_key"].startswith("mcp_key_")
    partner = Client(server.base, made["api_key"])
    assert partner.tools() == []
    data(admin.post("tools", json={"tool_name": "service_info", "group_id": made["id"]}), 201)
    assert partner.tools() == ["service_info"]
    assert data(admin.get(f"groups/{made['id']}/api-key"))["api_key"] == made["api_key"]
    replaced = data(admin.post(f"groups/{made['id']}/regenerate-key"))["api_key"]
    assert partner.rpc("tools/list").status_code == 401
    assert Client(server.base, replaced).tools() == ["service_info"]
    data(admin.patch(f"groups/{made['id']}", json={"enabled": False}))
    assert Client(server.base, replaced).rpc("tools/list").status_code == 403
    data(admin.delete(f"groups/{made['id']}"))
    assert Client(server.base, replaced).rpc("tools/list").status_code == 401
    actions = [row[0] for row in rows("SELECT action FROM audit_log WHERE subject = 'mcp_group:partners' ORDER BY id")]
    assert actions == [
        "mcp_group.created",
        "mcp_group.key_shown",
        "mcp_group.key_regenerated",
        "mcp_group.changed",
        "mcp_group.deleted",
    ]


def test_no_list_shows_a_key(admin: TestClient) -> None:
    key = key_of("customer_tools")
    for path in ("groups", "tools", "status", "settings", "stats", "call-logs", "functions"):
        assert key not in admin.get(path).text


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "groups", {"name": "customer_tools"}, 409, "MCP_GROUP_EXISTS"),
        ("POST", "groups", {"name": "Bad Name"}, 422, "INVALID_INPUT"),
        ("POST", "groups", {"name": "x", "allowed_role": ["admin"]}, 422, "INVALID_INPUT"),
        ("PATCH", f"groups/{NOBODY}", {"enabled": False}, 404, "MCP_GROUP_NOT_FOUND"),
        ("GET", f"groups/{NOBODY}/api-key", None, 404, "MCP_GROUP_NOT_FOUND"),
        ("PUT", f"tools/{NOBODY}", {"enabled": False}, 404, "MCP_TOOL_NOT_FOUND"),
        ("POST", f"tools/{NOBODY}/test-call", {}, 404, "MCP_TOOL_NOT_FOUND"),
        ("POST", "tools", {"tool_name": "nothing", "group_id": NOBODY}, 422, "MCP_TOOL_UNKNOWN"),
        ("GET", "call-logs?cursor=nonsense", None, 422, "INVALID_CURSOR"),
        ("PUT", "settings", {"values": {"calls_per_minute": -1}}, 422, "INVALID_INPUT"),
    ],
)
def test_what_is_wrong_is_said(admin: TestClient, method: str, path: str, body: Any, status: int, code: str) -> None:
    answer = admin.request(method, path, json=body)
    assert (answer.status_code in (status, 400), answer.json()["code"]) == (True, code), answer.text
    assert answer.json()["success"] is False
    assert rows("SELECT count(*) FROM audit_log") == [(0,)]


def test_a_tool_is_changed_tried_and_documented(admin: TestClient, customer: User) -> None:
    profile = tool_id(admin, "get_user_profile")
    assert data(admin.put(f"tools/{profile}", json={"enabled": False, "timeout_seconds": 5}))["timeout_seconds"] == 5
    # Disabled, and in a group that takes no plain ids: an administrator may try it all the same.
    tried = data(admin.post(f"tools/{profile}/test-call", json={"arguments": {"user_id": customer.external_id}}))
    assert tried["success"] is True
    assert "小美" in tried["result"]
    failed = data(admin.post(f"tools/{profile}/test-call", json={"arguments": {"user_id": "nobody"}}))
    assert failed["success"] is False
    calls = logged(2)
    assert [(row["transport"], row["caller_app_id"], row["outcome"]) for row in calls] == [
        ("test-call", "admin:the admin", "ok"),
        ("test-call", "admin:the admin", "error"),
    ]
    listed = next(tool for tool in data(admin.get("tools"))["items"] if tool["id"] == profile)
    assert listed["documentation"]["input_schema"]["required"] == ["user_id"]
    assert listed["problem"] is None
    wrong = admin.put(f"tools/{profile}", json={"input_schema": {}})
    assert wrong.status_code == 422


def looks() -> list[tuple[Any, ...]]:
    return rows("SELECT actor, subject, after FROM audit_log WHERE action = 'personal_data.reveal' ORDER BY id")


def test_what_a_test_call_shows_of_somebody_is_audited_before_the_call(
    admin: TestClient, customer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, metrics = tool_id(admin, "get_user_profile"), tool_id(admin, "get_business_metrics")
    before_the_call: list[list[tuple[Any, ...]]] = []
    call = ToolRunner.call

    async def seen(self: ToolRunner, *arguments: Any, **named: Any) -> Any:
        before_the_call.append(looks())
        return await call(self, *arguments, **named)

    monkeypatch.setattr(ToolRunner, "call", seen)
    named = {"arguments": {"user_id": customer.external_id}, "acting_for": str(customer.id)}
    assert data(admin.post(f"tools/{profile}/test-call", json=named))["success"] is True
    # Whom nobody here goes by may be written as anything, a telephone's number too, and stays out of the log.
    data(admin.post(f"tools/{profile}/test-call", json={"arguments": {"user_id": "+8613800000000"}}))
    data(admin.post(f"tools/{metrics}/test-call", json={}))
    own = str(customer.id)
    told = [
        (profile, "get_user_profile", own, own),
        (profile, "get_user_profile", "nobody", None),
        (metrics, "get_business_metrics", None, None),
    ]
    expected = [
        ("the admin", f"mcp_tool:{tool}", {"tool": name, "user_id": about, "acting_for": on_behalf_of})
        for tool, name, about, on_behalf_of in told
    ]
    assert looks() == expected
    assert before_the_call == [expected[:1], expected[:2], expected]


def test_a_call_that_cannot_be_audited_is_not_made(
    admin: TestClient, customer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailableError("the database does not answer")

    profile = tool_id(admin, "get_user_profile")
    monkeypatch.setattr(reveal.audit, "record", away)
    answer = admin.post(f"tools/{profile}/test-call", json={"arguments": {"user_id": customer.external_id}})
    assert answer.status_code == 503
    assert "小美" not in answer.text
    assert rows("SELECT count(*) FROM mcp_call_logs") == [(0,)]


def test_moving_a_tool_moves_who_sees_it(admin: TestClient, server: RunningServer, agent: Client) -> None:
    moved = {"group_id": str(group_id("project_tools"))}
    data(admin.put(f"tools/{tool_id(admin, 'get_business_metrics')}", json=moved))
    assert "get_business_metrics" not in agent.tools()
    assert "get_business_metrics" in server.client("project_tools").tools()


def test_the_call_log_pages_without_gaps_or_repeats(admin: TestClient, agent: Client) -> None:
    for _ in range(5):
        agent.call("get_business_metrics")
    agent.call_raw("nothing")
    logged(6)
    seen: list[str] = []
    cursor = ""
    while True:
        page = data(admin.get(f"call-logs?limit=2{cursor}"))
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert len(seen) == len(set(seen)) == 6
    failed = data(admin.get("call-logs?success=false"))["items"]
    assert [item["outcome"] for item in failed] == ["unknown_tool"]
    assert len(data(admin.get("call-logs?tool_name=get_business_metrics"))["items"]) == 5
    stats = {one["tool_name"]: one for one in data(admin.get("stats"))["items"]}
    assert (stats["get_business_metrics"]["calls"], stats["unknown"]["errors"]) == (5, 1)
    status = data(admin.get("status"))
    assert (status["calls"]["total"], status["calls"]["errors"]) == (6, 1)
    assert (status["groups"]["total"], status["tools"]["total"], status["tools"]["faulty"]) == (5, 17, 0)


def test_settings_are_versions(admin: TestClient) -> None:
    assert data(admin.get("settings"))["version"] == 0
    written = data(admin.put("settings", json={"values": {"calls_per_minute": 7}, "reason": "less"}))
    assert (written["version"], written["values"]["calls_per_minute"]) == (1, 7)
    assert data(admin.get("settings")) == written


def test_only_administrators_get_in(application: FastAPI, admin: TestClient) -> None:
    application.dependency_overrides[current_user] = lambda: someone(Role.OPERATOR)
    assert admin.get("groups").status_code == 403
    assert admin.get(f"groups/{group_id('customer_tools')}/api-key").status_code == 403

    def nobody() -> Identity:
        raise NotAuthenticatedError("no")

    application.dependency_overrides[current_user] = nobody
    assert admin.get("groups").status_code == 401
    assert rows("SELECT count(*) FROM audit_log") == [(0,)]
    assert UUID(str(group_id("customer_tools")))
