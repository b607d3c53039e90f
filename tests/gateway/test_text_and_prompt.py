"""Customer text is data: cleaned, cut, delimited, and never able to leave its place."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway import prompt
from services.gateway.prompt import Customer, Prompt
from services.gateway.text import _BLANK_LETTERS, _PLAIN, clean_line, clean_text, strip_harmful
from tests.gateway.hostile import TEXTS, each_hostile_text

HANDLE = "jrn_OwnHandleOfThisJourney01"
ANY_TEXT = st.text(st.characters(), max_size=200)


def built(text: str) -> Prompt:
    return prompt.build(Customer(HANDLE, text, locale=text, interests=[text, text], source=text))


def data_in(query: str) -> dict[str, object]:
    """Read the delimited block back; fails unless there is exactly one."""
    before, block = query.split("\n<customer_data>\n")
    inside, after = block.split("\n</customer_data>")
    assert after == ""
    assert before.endswith("\nlocale: zh-CN") or "\nlocale: " in before
    found: dict[str, object] = json.loads(inside)
    return found


def test_the_corpus_is_large_enough() -> None:
    assert len(TEXTS) >= 50
    assert max(len(text) for text in TEXTS) >= 10_000


@each_hostile_text
def test_a_hostile_text_stays_in_its_place(hostile: str) -> None:
    made = built(hostile)

    assert all(isinstance(value, str) for value in made.inputs.values())
    assert made.inputs["user_id"] == HANDLE
    assert len(made.inputs["username"]) <= 64
    assert len(made.inputs["interests"]) <= 2000
    assert len(made.query) < 4000
    # The only handle anywhere is this journey's own.
    sent = made.query + "".join(value for name, value in made.inputs.items() if name != "user_id")
    assert sent.lower().count("jrn_") == 1
    data = data_in(made.query)
    assert data["username"] == made.inputs["username"]
    for value in made.inputs.values():
        assert value == unicodedata.normalize("NFC", value)
        assert "\n" not in value
        value.encode()


@given(ANY_TEXT)
def test_any_text_stays_in_its_place(text: str) -> None:
    made = built(text)

    assert data_in(made.query).keys() == {"username", "interests", "source"}
    assert made.query.count("\n") == prompt.build(Customer(HANDLE, "小美")).query.count("\n")


def test_an_ordinary_customer_is_sent_as_is() -> None:
    made = prompt.build(Customer(HANDLE, "小美", "zh-CN", ["皮肤管理", "激光美肤"], "wechat"))

    assert made.inputs == {
        "user_id": HANDLE,
        "locale": "zh-CN",
        "username": "小美",
        "interests": "皮肤管理、激光美肤",
        "source": "wechat",
    }
    assert data_in(made.query) == {"username": "小美", "interests": ["皮肤管理", "激光美肤"], "source": "wechat"}


@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        ("en-US", "en-US"),
        ("zh_TW", "zh_TW"),
        (None, "zh-CN"),
        ("", "zh-CN"),
        ("en\nuser_id: x", "zh-CN"),
        ("x" * 40, "zh-CN"),
    ],
)
def test_a_locale_without_its_form_is_the_default(locale: str | None, expected: str) -> None:
    assert prompt.build(Customer(HANDLE, "小美", locale)).inputs["locale"] == expected


def test_interests_that_are_no_strings_are_left_out() -> None:
    odd: list[object] = [{"a": 1}, None, 7, "skin"]

    assert prompt.build(Customer(HANDLE, "小美", interests=odd)).inputs["interests"] == "skin"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  小 \n 美  ", "小 美"),
        ("小\u200b美\u202e", "小美"),
        ("👩\u200d👩\u200d👧 family", "👩\u200d👩\u200d👧 family"),
        ("👍🏽\u200dx", "👍🏽x"),
        ("🏳️\u200d🌈", "🏳️\u200d🌈"),
        ("a\u200db", "ab"),
        ("e\u0301", "é"),
        ("محمد", "محمد"),
        ("प्रिया", "प्रिया"),
        ("Nguyễn", "Nguyễn"),
        ("x" + "\u0336" * 50, "x" + "\u0336" * 4),
    ],
)
def test_cleaning_keeps_what_people_write(text: str, expected: str) -> None:
    assert clean_line(text, 64) == expected


@given(ANY_TEXT)
def test_cleaning_is_final(text: str) -> None:
    line = clean_line(text, 50)

    assert clean_line(line, 50) == line
    assert len(line) <= 50
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Co", "Cn") for character in line)
    assert clean_text(clean_text(text)) == clean_text(text)


@given(st.lists(st.sampled_from(["您好", "\u202e", " ", "\n", "。", "ab", "\x00"]), max_size=20))
def test_pieces_cleaned_alone_make_the_same_text(pieces: list[str]) -> None:
    assert clean_text("".join(strip_harmful(piece) for piece in pieces)) == clean_text("".join(pieces))


def test_what_passes_unlooked_at_holds_nothing_that_would_be_looked_for() -> None:
    passed = [chr(code) for code in range(0x110000) if _PLAIN.fullmatch(chr(code))]

    assert "欢" in passed
    assert [one for one in passed if one in _BLANK_LETTERS] == []
    assert {unicodedata.category(one)[0] for one in passed} <= {"L", "N", "P", "S", "Z"}
    assert {unicodedata.category(one) for one in passed} & {"Zl", "Zp"} == set()
