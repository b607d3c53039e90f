"""The pages show customers masked, unmasked on demand, export and erase them."""

import json

import pytest

from services import mcp_seed, mcp_tools
from tests.admin.conftest import SignIn, Visitor
from tests.api.test_personal_data import HIDDEN, looks
from tests.personal.seeding import NAMES, VALUES, Seeded, found, seed


@pytest.fixture
def seeded(database: str) -> Seeded:
    return seed()


def test_pages_show_nobody_until_asked(sign_in: SignIn, admin: Visitor, seeded: Seeded) -> None:
    operator = sign_in("operator")
    letter = f"/admin/dead-letters/{seeded.letter_id}"
    pages = [
        "/admin/journeys",
        f"/admin/journeys/{seeded.journey.id}",
        "/admin/dead-letters",
        letter,
        "/admin/dashboard",
    ]
    for path in pages:
        page = operator.get(path)
        assert page.status_code == 200, path
        assert [one for one in HIDDEN if one in page.text] == [], path
    for path in ("/admin/users", f"/admin/users/{seeded.user.id}"):
        assert [one for one in HIDDEN if one in admin.get(path).text] == [], path
    assert looks() == []
    assert VALUES["username"] in operator.post(f"/admin/journeys/{seeded.journey.id}/reveal").text
    assert VALUES["username"] in operator.post(f"{letter}/reveal").text
    assert VALUES["phone"] in admin.post(f"/admin/users/{seeded.user.id}/reveal").text
    assert looks() == [
        (operator.username, f"journey:{seeded.journey.id}"),
        (operator.username, f"dead_letter:{seeded.letter_id}"),
        (admin.username, f"user:{seeded.user.id}"),
    ]


def test_what_a_tool_tells_when_it_is_tried_is_a_look_too(admin: Visitor, seeded: Seeded) -> None:
    mcp_seed.ensure_seed()
    tool = next(one.id for one in mcp_tools.list_tools() if one.tool_name == "get_user_profile")
    path = f"/admin/mcp/tools/{tool}/test"
    arguments = json.dumps({"user_id": VALUES["external_id"]})
    assert looks() == []
    assert VALUES["username"] in admin.post(path, {"arguments": arguments}).text
    assert looks() == [(admin.username, f"mcp_tool:{tool}")]
    # What is no object is not called, so nobody was looked at.
    assert admin.post(path, {"arguments": "[]"}).status_code == 422
    assert len(looks()) == 1


def test_the_form_of_a_replay_is_filled_only_with_what_was_revealed(sign_in: SignIn, seeded: Seeded) -> None:
    operator = sign_in("operator")
    path = f"/admin/dead-letters/{seeded.letter_id}"
    assert "甄***" not in operator.get(path).text.partition("<textarea")[2].partition("</textarea>")[0]
    assert "甄美丽" in operator.post(f"{path}/reveal").text.partition("<textarea")[2].partition("</textarea>")[0]


def test_a_person_is_exported_as_a_file_and_erased_when_confirmed(admin: Visitor, seeded: Seeded) -> None:
    path = f"/admin/users/{seeded.user.id}"
    file = admin.post(f"{path}/export")
    assert file.headers["content-disposition"].startswith("attachment")
    assert json.loads(file.content)["tables"]["users"][0]["email"] == VALUES["email"]
    asked = admin.post(f"{path}/erase", {"reason": "asked for"})
    assert (asked.status_code, 'name="confirmed"' in asked.text) == (200, True)
    assert admin.post(f"{path}/erase", {"confirmed": "1"}).status_code == 422
    assert "users" in found(NAMES)
    done = admin.post(f"{path}/erase", {"confirmed": "1", "reason": "asked for"})
    assert (done.status_code, done.headers["location"]) == (303, f"{path}?done=user-erased")
    assert found(NAMES) == {}
    page = admin.get(path).text
    assert "This person was erased" in page
    assert "/erase" not in page
