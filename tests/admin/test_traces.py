"""What a visit leaves behind: where changes came from, and how long a session lives."""

from typing import Any

from sqlalchemy import text

from core.database import unit_of_work
from services import mcp_groups, mcp_seed, mcp_tools
from tests.admin.conftest import Visitor
from tests.admin.test_pages import newest


def test_changes_of_mcp_say_where_they_came_from(admin: Visitor) -> None:
    mcp_seed.ensure_seed()
    group = mcp_groups.list_groups()[0]
    admin.post(f"/admin/mcp/groups/{group.id}/key")
    admin.post(f"/admin/mcp/groups/{group.id}/regenerate", {"confirmed": "1"})
    tool = mcp_tools.list_tools(group.id)[0]
    admin.post(f"/admin/mcp/tools/{tool.id}/remove")
    for action in ("mcp_group.key_shown", "mcp_group.key_regenerated", "mcp_tool.removed"):
        assert (newest(action).actor, newest(action).origin) == (admin.username, "testclient"), action


def test_a_page_that_polls_keeps_no_session_alive(admin: Visitor) -> None:
    def used_at() -> Any:
        with unit_of_work() as session:
            return session.execute(text("SELECT max(last_used_at) FROM auth_sessions")).scalar_one()

    with unit_of_work() as session:
        session.execute(
            text("UPDATE auth_sessions SET last_used_at = now() - interval '1 h', expires_at = now() + interval '1 h'")
        )
    before = used_at()
    for path in ("/admin/journeys/live", "/admin/dashboard/live", "/admin/settings/mcp/processes/live"):
        assert admin.get(path).status_code == 200
    assert used_at() == before
    admin.get("/admin/journeys")
    assert used_at() > before
    with unit_of_work() as session:
        session.execute(text("UPDATE auth_sessions SET expires_at = now()"))
    assert admin.get("/admin/journeys/live").status_code == 401
