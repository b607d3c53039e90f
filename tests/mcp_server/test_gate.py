"""Who gets in, and how those who do not are answered. Nothing refused at the gate leaves a row."""

import pytest

from core.clock import utc_now
from services import mcp_groups, mcp_settings
from services.mcp_groups import GroupChange
from tests.mcp_server.support import Client, RunningServer, group_id, key_of, rows
from tests.support.waiting import wait_until

DOORS = ("/mcp", "/mcp/", "/sse", "/sse/", "/sse/messages/?session_id=" + "0" * 32)


def open_door(client: Client, path: str, headers: dict[str, str] | None = None) -> int:
    """Knock with the method the door takes; return the status."""
    sent = {"content-type": "application/json"} | client.headers | (headers or {})
    method = "GET" if path.startswith("/sse") and "messages" not in path else "POST"
    body = None if method == "GET" else b'{"jsonrpc":"2.0","id":0,"method":"ping"}'
    with client.http.stream(method, path, headers=sent, content=body) as response:
        return response.status_code


def no_call_logged() -> bool:
    return rows("SELECT count(*) FROM mcp_call_logs") == [(0,)]


@pytest.mark.parametrize("path", DOORS)
def test_no_key_is_401_with_a_plain_challenge(server: RunningServer, path: str) -> None:
    client = server.client(None)
    with client.http.stream("GET" if path.startswith("/sse") else "POST", path, headers=client.headers) as response:
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == 'Bearer realm="mcp"'
        response.read()
        assert response.json()["code"] == "MCP_KEY_MISSING"


@pytest.mark.parametrize("path", DOORS)
def test_a_wrong_key_is_401_invalid_token(server: RunningServer, path: str) -> None:
    client = Client(server.base, "mcp_key_" + "x" * 43)
    with client.http.stream("GET" if path.startswith("/sse") else "POST", path, headers=client.headers) as response:
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == 'Bearer realm="mcp", error="invalid_token"'
    assert no_call_logged()


@pytest.mark.parametrize(
    "authorization",
    ["Basic bWNwOmtleQ==", "Bearer", "mcp_key_abc", "Bearer mcp_key_%00", "Bearer mcp_key_" + "a" * 5000],
)
def test_what_is_no_bearer_key_is_401(server: RunningServer, authorization: str) -> None:
    client = server.client(None)
    assert client.rpc("tools/list", headers={"authorization": authorization}).status_code == 401


def test_a_key_in_the_query_is_not_looked_at(server: RunningServer) -> None:
    key = key_of("customer_tools")
    client = server.client(None)
    assert client.rpc("tools/list", path=f"/mcp?api_key={key}&access_token={key}").status_code == 401


def test_two_authorization_headers_are_401(server: RunningServer, agent: Client) -> None:
    authorization = agent.headers["authorization"]
    headers = [("authorization", authorization), ("authorization", authorization), ("accept", "*/*")]
    answer = agent.http.post("/mcp", content=b"{}", headers=headers)
    assert answer.status_code == 401


def test_the_key_of_a_disabled_group_is_403(server: RunningServer, agent: Client) -> None:
    mcp_groups.change(group_id("customer_tools"), GroupChange(enabled=False), actor="test")
    answer = wait_until(lambda: found if (found := agent.rpc("tools/list")).status_code != 200 else None)
    assert (answer.status_code, answer.json()["code"]) == (403, "MCP_GROUP_DISABLED")


def test_an_expired_key_is_401(server: RunningServer, agent: Client) -> None:
    change = GroupChange(key_expires_at=utc_now())
    mcp_groups.change(group_id("customer_tools"), change, actor="test")
    wait_until(lambda: agent.rpc("tools/list").status_code == 401)


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8001", "localhost.evil:80"])
def test_an_evil_host_is_421_even_with_a_key(agent: Client, path: str, host: str) -> None:
    assert open_door(agent, path, {"host": host}) == 421


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost.evil.example", "http://127.0.0.1@evil.example", "file://"],
)
def test_an_evil_or_null_origin_is_403_even_with_a_key(agent: Client, path: str, origin: str) -> None:
    assert open_door(agent, path, {"origin": origin}) == 403


def test_allowed_hosts_and_origins_are_settings_in_force_at_once(agent: Client) -> None:
    headers = {"host": "mcp.example.com:8001", "origin": "https://studio.example.com"}
    assert open_door(agent, "/mcp", headers) == 421
    allowed = {"allowed_hosts": ["mcp.example.com"], "allowed_origins": ["https://studio.example.com"]}
    mcp_settings.change(allowed, actor="test")
    wait_until(lambda: open_door(agent, "/mcp", headers) == 200)
    assert open_door(agent, "/mcp", headers | {"origin": "https://studio.example.com.evil"}) == 403
    assert open_door(agent, "/mcp", headers | {"host": "sub.mcp.example.com"}) == 421


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "HEAD"])
def test_the_stateless_door_takes_post_only(agent: Client, method: str) -> None:
    answer = agent.http.request(method, "/mcp", headers=agent.headers)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_a_session_id_that_was_never_given_out_is_404(agent: Client) -> None:
    assert agent.rpc("tools/list", headers={"mcp-session-id": "0" * 32}).status_code == 404


def test_a_body_beyond_the_limit_is_413_declared_or_not(agent: Client) -> None:
    body = b'{"jsonrpc":"2.0","id":0,"method":"ping","params":{"x":"' + b"a" * 300_000 + b'"}}'
    assert agent.post(body).status_code == 413
    headers = agent.headers | {"content-type": "application/json"}
    assert agent.http.post("/mcp", content=iter([body]), headers=headers).status_code == 413


@pytest.mark.parametrize("depth", [41, 10_000, 100_000])
def test_deep_json_is_400(agent: Client, depth: int) -> None:
    assert agent.post(b'{"a":' + b"[" * depth + b"]" * depth + b"}").status_code == 400


def test_brackets_inside_strings_are_not_depth(agent: Client) -> None:
    assert agent.rpc("tools/call", {"name": "none", "arguments": {"text": "[{" * 500}}).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"nonsense"])
def test_what_is_not_json_is_400(agent: Client, body: bytes) -> None:
    assert agent.post(body).status_code == 400


def test_discovery_of_an_authorization_server_finds_nothing(agent: Client) -> None:
    for path in ("oauth-protected-resource", "oauth-protected-resource/mcp", "oauth-authorization-server"):
        assert agent.http.get(f"/.well-known/{path}").status_code == 404


def test_the_server_switched_off_is_503_and_back_at_once(agent: Client) -> None:
    mcp_settings.change({"enabled": False}, actor="test")
    wait_until(lambda: agent.rpc("tools/list").status_code == 503)
    mcp_settings.change({"enabled": True}, actor="test")
    wait_until(lambda: agent.rpc("tools/list").status_code == 200)


def test_health_and_readiness_need_no_key(agent: Client) -> None:
    assert agent.http.get("/healthz").json() == {"status": "ok"}
    assert agent.http.get("/readyz").json() == {"ready": True, "reasons": []}
