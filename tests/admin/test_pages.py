"""What the pages show and do, in both languages, without JavaScript."""

import json
import re
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from core.database import unit_of_work
from core.ids import new_id
from models import AuditEntry, DeadLetter, Journey, JourneyStep, SettingsVersion
from services import automation, mcp_seed, seed
from tests.admin.conftest import PASSWORD, SignIn, Story, Visitor, token_of

PAGES = (
    "/admin/dashboard",
    "/admin/dashboard?window=7d",
    "/admin/dashboard/live?window=1h",
    "/admin/journeys",
    "/admin/journeys/live",
    "/admin/journeys?status=failed&step=create_conversation&user_id=x&from=2026-01-01T00:00&to=2030-01-01T00:00",
    "/admin/dead-letters",
    "/admin/dead-letters?status=",
    "/admin/dead-letters/replay?step=create_conversation",
    "/admin/settings/registration-automation",
    "/admin/settings/registration-automation/history",
    "/admin/settings/registration-automation/rollback/0",
    "/admin/settings/mcp",
    "/admin/templates",
    "/admin/agents",
    "/admin/mcp",
    "/admin/mcp/calls",
    "/admin/mcp/calls?success=no&tool_name=x&before=junk",
    "/admin/consultants",
    "/admin/webhook",
    "/admin/users",
    "/admin/users?role=admin&search=a",
    "/admin/audit",
    "/admin/audit?check=1",
    "/admin/account",
)


def form_values(page: httpx.Response) -> dict[str, Any]:
    """Return what a browser would send of the page's inputs, checked boxes and areas; repeated names as lists."""
    values: dict[str, list[str]] = {}
    for tag in re.findall(r"<input[^>]*>", page.text):
        name, value = re.search(r'name="([^"]+)"', tag), re.search(r'value="([^"]*)"', tag)
        if name and ('type="checkbox"' not in tag or " checked" in tag):
            values.setdefault(name.group(1), []).append(_plain(value.group(1) if value else ""))
    for name, body in re.findall(r"<textarea[^>]*name=\"([^\"]+)\"[^>]*>\n?(.*?)</textarea>", page.text, re.DOTALL):
        values.setdefault(name, []).append(_plain(body))
    for name, body in re.findall(r"<select[^>]*name=\"([^\"]+)\"[^>]*>(.*?)</select>", page.text, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', body)
        values.setdefault(name, []).append(chosen.group(1) if chosen else "")
    return dict(values)


def _plain(text: str) -> str:
    for entity, sign in (("&lt;", "<"), ("&gt;", ">"), ("&#34;", '"'), ("&#39;", "'"), ("&amp;", "&")):
        text = text.replace(entity, sign)
    return text


def newest(action: str) -> AuditEntry:
    with unit_of_work() as session:
        return session.scalars(
            select(AuditEntry).where(AuditEntry.action == action).order_by(AuditEntry.id.desc())
        ).first()  # type: ignore[return-value] # a missing one fails where it is looked at


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("filled", [False, True])
def test_every_page_shows_in_both_languages_empty_and_not(admin: Visitor, language: str, filled: bool) -> None:
    extra = []
    if filled:
        story = Story()
        mcp_seed.ensure_seed()
        extra = [f"/admin/journeys/{story.journey.id}", f"/admin/dead-letters/{story.letter.id}"]
        extra += [f"/admin/agents/{story.agent.id}", f"/admin/journeys/{story.journey.id}/cancel"]
        for kind in ("groups", "tools"):
            found = re.search(rf"/admin/mcp/{kind}/[0-9a-f-]{{36}}", admin.get("/admin/mcp").text)
            assert found
            extra.append(found.group())
    for path in (*PAGES, *extra):
        answer = admin.get(path, language=language)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:300]}"
        if not path.split("?")[0].endswith("/live"):
            tag = "zh-CN" if language == "zh" else "en"
            assert f'<html lang="{tag}">' in answer.text, path
            said = "所有时间均为 UTC+8" if language == "zh" else "All times are UTC+8"
            assert said in answer.text, path


def test_customer_text_is_text_and_never_markup(admin: Visitor, story: Story) -> None:
    page = admin.post(f"/admin/journeys/{story.journey.id}/reveal").text
    assert "小美 &lt;b&gt;" in page
    assert "小美 <b>" not in page


def test_a_wrong_password_says_so_and_signs_nobody_in(client: TestClient, sign_in: SignIn) -> None:
    name = sign_in("operator").username
    page = client.get("/admin/login?next=/admin/journeys")
    client.cookies.update(page.cookies)
    fields = {"csrf_token": token_of(page), "username": name, "password": "wrong", "next": "/admin/journeys"}
    refused = client.post("/admin/login", data=fields)
    assert (refused.status_code, "anmei_session" in refused.cookies) == (401, False)
    assert "The name or the password is wrong." in refused.text
    taken = client.post("/admin/login", data=fields | {"password": PASSWORD})
    assert (taken.status_code, taken.headers["location"]) == (303, "/admin/journeys")
    cookie = taken.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" in cookie


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example", "/api/v1/users", ""])
def test_signing_in_leads_to_no_other_site(client: TestClient, sign_in: SignIn, target: str) -> None:
    name = sign_in("operator").username
    page = client.get("/admin/login", params={"next": target})
    client.cookies.update(page.cookies)
    fields = {"csrf_token": token_of(page), "username": name, "password": PASSWORD, "next": target}
    assert client.post("/admin/login", data=fields).headers["location"] == "/admin"


def test_an_operator_sees_what_is_theirs(sign_in: SignIn) -> None:
    operator = sign_in("operator")
    page = operator.get("/admin/dashboard")
    assert page.status_code == 200
    assert "/admin/journeys" in page.text
    assert "/admin/users" not in page.text
    refused = operator.get("/admin/users")
    assert (refused.status_code, "NOT_ALLOWED" in refused.text) == (403, True)


def test_what_is_not_there_is_a_page_that_says_so(admin: Visitor) -> None:
    for path in ("/admin/nothing", "/admin/journeys/junk", f"/admin/journeys/{new_id()}", f"/admin/agents/{new_id()}"):
        answer = admin.get(path)
        assert (answer.status_code, "text/html" in answer.headers["content-type"]) == (404, True), path


def test_a_part_that_is_polled_is_sent_only_when_it_changed(admin: Visitor, story: Story) -> None:
    path = f"/admin/journeys/{story.journey.id}/live"
    first = admin.get("/admin/journeys/live")
    same = admin.get("/admin/journeys/live", headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, same.status_code, same.content) == (200, 304, b"")
    for region in (first.text, admin.get(path).text, admin.get("/admin/dashboard/live").text):
        assert not re.search(r"<(input|button|select|textarea)", region)


def test_a_journey_is_told_with_its_time_and_replayed(admin: Visitor, story: Story) -> None:
    page = admin.get(f"/admin/journeys/{story.journey.id}").text
    assert 'class="lanes"' in page
    assert "Create the conversation failed for good (BOOM)." in page
    answer = admin.post(f"/admin/journeys/{story.journey.id}/replay", {"from_step": "create_conversation"})
    assert answer.headers["location"] == f"/admin/journeys/{story.journey.id}?done=journey-replayed"
    with unit_of_work() as session:
        step = session.scalars(select(JourneyStep).where(JourneyStep.journey_id == story.journey.id)).first()
        assert step is not None
        assert step.status in ("pending", "running", "succeeded")
        assert session.get_one(DeadLetter, story.letter.id).status == "replayed"
    again = admin.post(f"/admin/journeys/{story.journey.id}/replay", {"from_step": "notify_consultants"})
    assert again.status_code == 409


def test_a_journey_is_cancelled_only_with_a_reason(admin: Visitor, story: Story) -> None:
    path = f"/admin/journeys/{story.journey.id}/cancel"
    assert admin.post(path, {"reason": " "}).status_code == 422
    assert admin.post(path, {"reason": "a test"}).status_code == 303
    with unit_of_work() as session:
        journey = session.get_one(Journey, story.journey.id)
        assert (journey.status, journey.reason) == ("cancelled", "a test")


def test_a_dead_letter_is_replayed_with_other_inputs(admin: Visitor, story: Story) -> None:
    path = f"/admin/dead-letters/{story.letter.id}"
    for wrong in ("{", "[]", '{"odd": 1}'):
        refused = admin.post(f"{path}/replay", {"payload": wrong})
        assert refused.status_code == 422, wrong
        assert _plain(refused.text).count(wrong) >= 1
    assert admin.post(f"{path}/replay", {"payload": json.dumps({"title": "另一个"})}).status_code == 303
    assert admin.post(f"{path}/replay", {"payload": ""}).status_code == 409
    assert newest("dead_letter.replay").after == {"payload": {"title": "另一个"}}


def test_a_dead_letter_is_discarded_only_after_being_asked_again(admin: Visitor, story: Story) -> None:
    path = f"/admin/dead-letters/{story.letter.id}/discard"
    asked = admin.post(path, {"reason": "a test"})
    assert (asked.status_code, 'value="a test"' in asked.text) == (200, True)
    with unit_of_work() as session:
        assert session.get_one(DeadLetter, story.letter.id).status == "open"
    assert admin.post(path, {"reason": "", "confirmed": "1"}).status_code == 422
    assert admin.post(path, {"reason": "a test", "confirmed": "1"}).status_code == 303
    with unit_of_work() as session:
        assert session.get_one(DeadLetter, story.letter.id).reason == "a test"


def test_many_dead_letters_are_counted_then_replayed(admin: Visitor) -> None:
    story = Story()
    assert "1 open dead letters match." in admin.get("/admin/dead-letters/replay?error_code=BOOM").text
    assert "0 open dead letters match." in admin.get("/admin/dead-letters/replay?error_code=OTHER").text
    assert admin.post("/admin/dead-letters/replay", {"per_second": "nan"}).status_code == 422
    assert admin.post("/admin/dead-letters/replay", {"error_code": "BOOM", "per_second": "5"}).status_code == 303
    with unit_of_work() as session:
        assert session.get_one(DeadLetter, story.letter.id).status == "replayed"


def test_settings_saved_as_shown_differ_in_nothing(admin: Visitor) -> None:
    for name in ("registration-automation", "mcp"):
        values = form_values(admin.get(f"/admin/settings/{name}"))
        answer = admin.post(f"/admin/settings/{name}", values | {"reason": "nothing"})
        assert answer.headers.get("location") == f"/admin/settings/{name}?done=settings-same", answer.text[:2000]
    assert automation.current_version() == 0


def test_a_setting_is_checked_saved_explained_and_taken_back(admin: Visitor) -> None:
    path = "/admin/settings/registration-automation"
    values = form_values(admin.get(path)) | {"retry.max_retries": "5", "retry.delays_seconds": "1, 2，3"}
    dry = admin.post(f"{path}/check", values)
    assert (dry.status_code, "retry.max_retries" in dry.text) == (200, True)
    assert automation.current_version() == 0
    assert admin.post(path, values).status_code == 422
    assert admin.post(path, values | {"reason": "a test"}).headers["location"].endswith("done=settings-saved")
    assert (automation.current().retry.max_retries, automation.current().retry.delays_seconds) == (5, (1, 2, 3))
    lost = admin.post(path, values | {"retry.max_retries": "6", "reason": "too late"})
    assert (lost.status_code, "VERSION" in lost.text or "Somebody changed the settings" in lost.text) == (412, True)
    assert "retry.max_retries" in admin.get(f"{path}/history").text
    assert "max_retries" in admin.get(f"{path}/rollback/0").text
    assert admin.post(f"{path}/rollback/0", {"version": "1"}).status_code == 303
    assert (automation.current_version(), automation.current().retry.max_retries) == (2, 3)
    with unit_of_work() as session:
        written = session.scalars(select(SettingsVersion).order_by(SettingsVersion.version)).all()
    assert [one.reason for one in written] == ["a test", "rolled back to version 0"]
    assert newest("settings.change").origin == "testclient"


def test_wrong_settings_are_refused_at_their_fields(admin: Visitor) -> None:
    path = "/admin/settings/registration-automation"
    values = form_values(admin.get(path))
    wrong = {"retry.max_retries": "99", "welcome_deadline_ms": "soon", "retry.delays_seconds": "5, -1", "reason": "x"}
    answer = admin.post(path, values | wrong)
    assert answer.status_code == 422
    for text in ("must be at most 20", "must be a whole number", "1: must be at least 0"):
        assert text in answer.text, text
    # What was typed is still there.
    assert 'value="99"' in answer.text
    assert 'value="soon"' in answer.text
    assert automation.current_version() == 0


def test_templates_are_previewed_and_saved(admin: Visitor) -> None:
    values = form_values(admin.get("/admin/templates"))
    values["source"] = ["你好，{{ username }}！", *values["source"][1:]]
    preview = admin.post("/admin/templates/preview", values | {"sample_username": "小丽"})
    assert "你好，小丽！" in preview.text
    assert automation.current_version() == 0
    assert admin.post("/admin/templates", values | {"reason": "shorter"}).status_code == 303
    assert automation.template_for("小丽", "zh-CN", automation.current()) == "你好，小丽！"
    broken = values | {"version": "1", "reason": "x", "source": ["{% for a in b %}", *values["source"][1:]]}
    assert admin.post("/admin/templates", broken).status_code == 422
    assert automation.current_version() == 1


def test_a_key_is_shown_on_demand_and_written_down(admin: Visitor) -> None:
    created = admin.post("/admin/mcp/groups", {"name": "own_tools", "enabled": "1", "allowed_roles": ["doctor"]})
    key = re.search(r"mcp_key_[\w-]+", created.text)
    path = re.search(r'action="(/admin/mcp/groups/[0-9a-f-]{36})"', created.text)
    assert key
    assert path
    assert key.group() not in admin.get(path.group(1)).text
    assert key.group() in admin.post(f"{path.group(1)}/key").text
    assert newest("mcp_group.key_shown").actor == admin.username
    assert admin.post(f"{path.group(1)}/regenerate").status_code == 422
    assert key.group() in admin.post(f"{path.group(1)}/key").text
    renewed = admin.post(f"{path.group(1)}/regenerate", {"confirmed": "1"})
    assert key.group() not in renewed.text
    assert "mcp_key_" in renewed.text
    assert admin.post("/admin/mcp/groups", {"name": "own_tools"}).status_code == 409
    assert admin.post("/admin/mcp/groups", {"name": "Wrong Name"}).status_code == 422
    assert admin.post(f"{path.group(1)}/delete", {"name": "other"}).status_code == 422
    assert admin.post(f"{path.group(1)}/delete", {"name": "own_tools"}).status_code == 303


def test_a_tool_is_offered_changed_tried_and_removed(admin: Visitor) -> None:
    mcp_seed.ensure_seed()
    group = re.search(r'href="(/admin/mcp/groups/[0-9a-f-]{36})">project_tools', admin.get("/admin/mcp").text)
    assert group
    page = admin.get(group.group(1)).text
    tool = re.search(r'href="(/admin/mcp/tools/[0-9a-f-]{36})">service_info', page)
    assert tool
    path = tool.group(1)
    values = form_values(admin.get(path)) | {"timeout_seconds": "7", "description": "ours"}
    values.pop("enabled")
    assert admin.post(path, values).status_code == 303
    assert 'value="7.0"' in admin.get(path).text
    assert admin.post(path, values | {"timeout_seconds": "x"}).status_code == 422
    assert admin.post(path, values | {"config_data": "{"}).status_code == 422
    tried = admin.post(f"{path}/test", {"arguments": "{}"})
    assert (tried.status_code, "Answered after" in tried.text) == (200, True)
    assert "service_info" in admin.get("/admin/mcp/calls").text
    assert admin.post(f"{path}/test", {"arguments": "[]"}).status_code == 422
    assert admin.post(f"{path}/remove").status_code == 303
    assert admin.get(path).status_code == 404
    assert admin.post(f"{group.group(1)}/tools", {"tool_name": "service_info"}).status_code == 303
    assert admin.post(f"{group.group(1)}/tools", {"tool_name": "nothing"}).status_code == 422


def test_an_agent_is_made_changed_and_given_versions(admin: Visitor) -> None:
    values = {"name": "second", "provider": "dify", "base_url": "http://127.0.0.1:9/v1", "mode": "agent"}
    values |= {"timeout_ms": "5000", "position": "1", "enabled": "1", "api_key": "app-secret-key"}
    made = admin.post("/admin/agents", values)
    path = made.headers["location"].split("?")[0]
    assert admin.post("/admin/agents", values).status_code == 409
    assert admin.post("/admin/agents", values | {"name": "third", "base_url": "junk"}).status_code == 422
    assert "app-secret-key" not in admin.get(path).text
    assert admin.post(path, values | {"timeout_ms": "1"}).status_code == 422
    assert admin.post(path, values | {"timeout_ms": "9000", "api_key": ""}).status_code == 303
    assert newest("agent.change").after["timeout_ms"] == 9000  # type: ignore[index]
    version = {"label": "b", "status": "canary", "weight": "100", "canary_percent": "10"}
    assert admin.post(f"{path}/versions", version).status_code == 303
    found = re.search(rf'action="({path}/versions/[0-9a-f-]{{36}})"', admin.get(path).text)
    assert found
    assert admin.post(found.group(1), version | {"canary_percent": "25"}).status_code == 303
    assert 'value="25"' in admin.get(path).text
    assert admin.post(f"{path}/delete", {"name": "no"}).status_code == 422


def test_a_webhook_secret_is_rotated_and_shown_once(admin: Visitor) -> None:
    seed.ensure_seed()
    answer = admin.post("/admin/webhook/rotate", {"old_valid_hours": "1"})
    assert "whsec_" in answer.text
    assert "whsec_" not in admin.get("/admin/webhook").text
    assert admin.post("/admin/webhook/rotate", {"old_valid_hours": "-1"}).status_code == 422
    assert newest("webhook_secret.rotate").actor == admin.username


def test_users_are_made_changed_and_the_last_administrator_stays(admin: Visitor) -> None:
    fields = {"username": "新同事", "password": PASSWORD, "roles": ["operator", "consultant"]}
    assert admin.post("/admin/users", fields).status_code == 303
    assert admin.post("/admin/users", fields).status_code == 409
    assert admin.post("/admin/users", fields | {"username": "b", "password": "short"}).status_code == 422
    found = re.search(r'href="(/admin/users/[0-9a-f-]{36})">新同事', admin.get("/admin/users").text)
    assert found
    assert admin.post(found.group(1), {"roles": ["operator"]}).status_code == 303
    assert "switched off" in admin.get("/admin/users").text
    own = re.search(rf'href="(/admin/users/[0-9a-f-]{{36}})">{admin.username}', admin.get("/admin/users").text)
    assert own
    last = admin.post(own.group(1), {"roles": ["operator"], "is_active": "1"})
    assert (last.status_code, "Nobody would be left to administer." in last.text) == (409, True)


def test_a_changed_password_ends_the_session(admin: Visitor) -> None:
    path = "/admin/account/password"
    new = {"old": PASSWORD, "new": "another long password", "again": "another long password"}
    assert admin.post(path, new | {"old": "wrong"}).status_code == 401
    assert admin.post(path, new | {"again": "different password"}).status_code == 422
    assert admin.post(path, new).status_code == 303
    assert admin.get("/admin/dashboard").headers["location"].startswith("/admin/login")


def test_the_audit_log_is_searched_checked_and_exported(admin: Visitor) -> None:
    admin.post("/admin/users", {"username": "=1+1", "password": PASSWORD, "roles": ["operator"]})
    page = admin.get("/admin/audit?action=user.&check=1").text
    assert "user.create" in page
    assert "auth.login" not in page
    assert "The chain of hashes is whole" in page
    table = admin.get("/admin/audit/export.csv?action=user.")
    assert table.headers["content-disposition"].endswith('"audit-log.csv"')
    assert table.text.startswith("\ufeffid,at,actor")
    assert "auth.login" not in table.text
