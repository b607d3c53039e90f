"""The catalogue has every text of the pages, and nothing runs or is styled inline."""

import re
from pathlib import Path

import pytest

from admin.i18n import chosen, languages
from tests.admin.messages import ADMIN, texts_in_sources

_PLACES = re.compile(r"%\((\w+)\)s|%%")


def test_every_text_has_its_chinese() -> None:
    chinese = languages()["zh"].texts
    texts = texts_in_sources()
    assert len(texts) > 500
    assert sorted(texts - set(chinese)) == []
    assert sorted(set(chinese) - texts) == []


def test_translations_fill_in_what_the_sources_do() -> None:
    for text, translated in languages()["zh"].texts.items():
        assert sorted(_PLACES.findall(text)) == sorted(_PLACES.findall(translated)), text


@pytest.mark.parametrize("path", sorted((ADMIN / "templates").iterdir()), ids=lambda path: path.name)
def test_templates_hold_no_inline_script_or_style(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\sstyle=|<style|\son[a-z]+=|javascript:", text)
    assert re.findall(r"<script(?![^>]*\bsrc=)", text) == []
    assert not re.search(r"(src|href)=\"(https?:)?//", text)


def test_own_javascript_stays_small() -> None:
    lines = [line for line in (ADMIN / "static/live.js").read_text().splitlines() if line.strip()]
    assert len(lines) <= 35


@pytest.mark.parametrize(
    ("cookie", "accepted", "code"),
    [("en", "zh-CN", "en"), (None, "en-US,en;q=0.9", "en"), (None, "fr, zh;q=0.5", "zh"), ("xx", None, "zh")],
)
def test_the_language_is_chosen_by_cookie_then_browser(cookie: str | None, accepted: str | None, code: str) -> None:
    assert chosen(cookie, accepted).code == code
