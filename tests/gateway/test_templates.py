"""Templates: safe, bounded, in the customer's language, and never the reason for silence."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.errors import InvalidInputError
from services.gateway import templates
from services.gateway.defaults import DEFAULT_TEMPLATES
from services.gateway.settings import TemplateSettings
from services.gateway.text import clean_line
from tests.gateway.hostile import each_hostile_text

A3_4 = "欢迎来到安美智享！🌟 我是您的专属AI咨询助手，很高兴为您服务。您可以随时向我咨询医美相关问题，获得个性化的美容建议。"


REFUSED = "INVALID_TEMPLATE"


def previewed(source: str) -> str:
    """The preview, or the code it was refused with."""
    try:
        return templates.preview(source)
    except InvalidInputError as error:
        return error.code


def test_the_chinese_default_is_the_required_one() -> None:
    assert DEFAULT_TEMPLATES["zh-CN"] == A3_4
    assert templates.render(DEFAULT_TEMPLATES, None, {}).text == A3_4


@pytest.mark.parametrize("locale", DEFAULT_TEMPLATES)
def test_every_default_passes_its_own_check(locale: str) -> None:
    templates.check(DEFAULT_TEMPLATES[locale])


@pytest.mark.parametrize(
    ("locale", "served"),
    [
        ("zh-CN", "zh-CN"), ("zh", "zh-CN"), ("zh-Hans-SG", "zh-CN"), ("zh-SG", "zh-CN"), ("zh_CN", "zh-CN"),
        ("zh-TW", "zh-TW"), ("zh-HK", "zh-TW"), ("zh-Hant-MO", "zh-TW"), ("ZH-tw", "zh-TW"),
        ("en", "en"), ("en-US", "en"), ("EN_gb", "en"), ("ja-JP", "ja"), ("ko-KR", "ko"),
        ("fr-FR", "zh-CN"), (None, "zh-CN"), ("", "zh-CN"), ("---", "zh-CN"), ("not a locale", "zh-CN"),
    ],
)  # fmt: skip
def test_a_locale_falls_back_to_its_script_its_language_then_chinese(locale: str | None, served: str) -> None:
    assert templates.render(DEFAULT_TEMPLATES, locale, {}).locale == served


def test_the_exact_locale_wins() -> None:
    rendered = templates.render({"zh-CN": "a", "en": "b", "en-GB": "c"}, "en-GB", {})

    assert (rendered.text, rendered.locale) == ("c", "en-GB")


def test_values_are_put_in() -> None:
    source = "{{ username|default('您', true) }}，您好！{% if interests %}我们看到您关注{{ interests }}。{% endif %}"

    assert templates.render({"zh-CN": source}, "zh-CN", {"username": "小美"}).text == "小美，您好！"
    assert templates.render({"zh-CN": source}, "zh-CN", {"interests": "skin"}).text == "您，您好！我们看到您关注skin。"
    assert templates.preview(source) == "小美，您好！我们看到您关注皮肤管理、激光美肤。"
    assert templates.preview(source, {"username": "Emma"}).startswith("Emma，您好！")


@each_hostile_text
def test_a_hostile_value_is_text_and_nothing_else(hostile: str) -> None:
    rendered = templates.render({"zh-CN": "[{{ username }}]您好！"}, "zh-CN", {"username": hostile, "unknown": hostile})

    assert rendered.text == f"[{clean_line(hostile, 64)}]您好！"
    assert not rendered.is_builtin


@each_hostile_text
def test_a_hostile_template_renders_or_is_refused_quickly(hostile: str) -> None:
    started = time.monotonic()

    text = previewed(hostile)

    assert text == REFUSED or len(text) <= templates.MAX_OUTPUT_CHARACTERS
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("{% for x in range(10**9) %}x{% endfor %}", "for"),
        ("{{ 'x' * 10**9 }}", "mul"),
        ("{{ username.__class__ }}", "getattr"),
        ("{{ username['__class__'] }}", "getitem"),
        ("{{ username() }}", "call"),
        ("{{ lipsum() }}", "call"),
        ("{{ self }}", "variable"),
        ("{{ config }}", "variable"),
        ("{% set username = 'x' %}", "assign"),
        ("{% macro m() %}{% endmacro %}", "macro"),
        ("{% include 'x' %}", "include"),
        ("{% import 'x' as y %}", "import"),
        ("{% extends 'x' %}", "extends"),
        ("{% filter upper %}x{% endfilter %}", "filterblock"),
        ("{{ username|attr('__class__') }}", "filter"),
        ("{{ username|center(10**9) }}", "filter"),
        ("{{ username|format(1) }}", "filter"),
        ("{{ username ~ username }}", "concat"),
        ("{% raw %}{{ x }}", "line 1"),
        ("{{ username", "line 1"),
        ("{{ usrname }}", "username"),
        ("x" * 2001, "2000"),
        ("   ", "nothing"),
        ("{{ username }}", "nothing"),
        ("{{ username|truncate('x') }}", "render"),
    ],
)
def test_what_templates_do_not_offer_is_refused_with_the_reason(source: str, word: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        templates.check(source)

    assert caught.value.code == "INVALID_TEMPLATE"
    assert word in caught.value.message.lower()


@pytest.mark.parametrize("nested", ["(" * 900 + "1" + ")" * 900, "not " * 400 + "1", "1 and " * 300 + "1"])
def test_deep_nesting_ends_in_an_answer(nested: str) -> None:
    source = "{{ " + nested + " }}"

    assert previewed(source) in (REFUSED, "1", "False", "True")


def test_deep_ifs_end_in_an_answer() -> None:
    with pytest.raises(InvalidInputError):
        templates.check("{% if username %}" * 80 + "x" + "{% endif %}" * 80)


@given(st.text(max_size=100))
def test_any_source_is_rendered_or_refused(source: str) -> None:
    assert len(previewed(source)) <= templates.MAX_OUTPUT_CHARACTERS


@pytest.mark.parametrize("broken", ["{{ nope }}", "{% for x in y %}{% endfor %}", "{{", "{{ username }}"])
def test_a_stored_template_that_fails_gives_way_to_the_built_in_one(broken: str) -> None:
    rendered = templates.render({"zh-CN": broken, "en": broken}, "en-US", {"username": ""})

    assert rendered == templates.Rendered(DEFAULT_TEMPLATES["en"], "en", is_builtin=True)


def test_settings_refuse_a_template_that_would_fail() -> None:
    with pytest.raises(ValidationError, match="zh-CN: line 1: there is no variable 'nope'"):
        TemplateSettings(by_locale={"zh-CN": "{{ nope }}"})
    with pytest.raises(ValidationError, match="a template for zh-CN is needed"):
        TemplateSettings(by_locale={"en": "hello"})
