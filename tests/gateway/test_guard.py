"""The guard: whole, clean, personal welcomes pass; nothing else reaches a customer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.gateway import guard
from services.gateway.guard import GuardReason, Recipient
from services.gateway.preview import GuardedPreview
from services.gateway.settings import GuardSettings
from simulators.dify import answers, faults
from tests.gateway.hostile import each_hostile_text

SETTINGS = GuardSettings()
MEI = Recipient("zh-CN", "小美", "mei@example.com", "+8613800000000")
LOCALES = {"zh-CN": "小美", "zh-TW": "陳怡君", "en-US": "Emma O'Connor", "ja-JP": "佐藤さくら", "ko-KR": "김서연"}


def reason_of(text: str, recipient: Recipient = MEI, settings: GuardSettings = SETTINGS) -> GuardReason | None:
    return guard.check(text, recipient, settings).reason


@pytest.mark.parametrize("style", ["plain", "warm", "terse"])
@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("is_new", [True, False])
def test_every_welcome_of_the_simulated_agent_passes(locale: str, style: str, is_new: bool) -> None:
    name = LOCALES[locale]
    profile = {
        "username": name,
        "locale": locale,
        "source": "wechat",
        "interests": ["skin", "laser"],
        "is_new_user": is_new,
    }
    for text in (answers.write(profile, locale=locale, style=style), answers.write(None, locale=locale, style=style)):
        verdict = guard.check(text, Recipient(locale, name), SETTINGS)

        assert verdict.accepted, (verdict, text)
        assert verdict.text == text


@pytest.mark.parametrize(
    "text",
    [
        "小美您好～欢迎来到安美智享！我是您的AI顾问，看到您关注皮肤管理，随时问我哦😊",
        "小美，您好！\n\n欢迎加入安美智享 AnmeiSmart。\n有任何关于 Thermage、IPL 光子嫩肤的问题，都可以告诉我～",
        "您好，小美！我们的客服时间是 9:00-21:00，您于 2026-11-20 注册成功，祝您生活愉快。",
        "欢迎您！2026年11月20日是个好日子（也是您的第一天）。",
        "小美，很高兴认识您！医美项目都存在一定风险，我会如实为您说明。",
        "欢迎！您的手机号 138 0000 0000 已登记，邮箱 mei@example.com 也已收到。",
        "「小美」您好，欢迎您的到来👩‍⚕️",
        "小美您好！欢迎您✨❤️",
    ],
)
def test_what_a_good_agent_writes_passes(text: str) -> None:
    verdict = guard.check(text, MEI, SETTINGS)

    assert verdict.accepted, verdict
    assert verdict.text == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\u200b\u202e ", "empty"),
        ("。。。！", "empty"),
        ("🌟🌟🌟", "empty"),
        ("小美您好！" * 400, "too_long"),
        ("小美您好！" + "x" * 100_000, "too_long"),
        ("Traceback (most recent call last):\n  File \"/app/x.py\", line 3", "leaked_error"),
        ("抱歉，tool invoke error: connection refused，请稍后再试。", "leaked_error"),
        ("您好！502 Bad Gateway。", "leaked_error"),
        ("您好！错误码是error_code: USER_NOT_FOUND。", "leaked_error"),
        ("ValueError: bad value。", "leaked_error"),
        ("java.lang.NullPointerException: x at com.foo.Bar(Bar.java:12)。", "leaked_error"),
        ("我调用get_user_profile查到了您的资料。", "leaked_tool"),
        ("Thought: 我需要查询\nAction: 查询。", "leaked_tool"),
        ("<think>用户叫小美</think>小美您好！", "leaked_tool"),
        ("您好！{\"username\": \"小美\"}。", "leaked_tool"),
        ("{{username}}，您好！", "leaked_tool"),
        ("作为一个AI语言模型，我欢迎您！", "leaked_tool"),
        ("您的编号是jrn_abcdefgh1234，欢迎！", "leaked_id"),
        ("您的编号是0199f2d4-1c2b-7c1a-9f3e-0123456789ab，欢迎！", "leaked_id"),
        ("密钥app-abcdefghijklmnop，欢迎！", "leaked_id"),
        ("<b>小美</b>您好！", "markup"),
        ("小美您好<img src=x onerror=alert(1)>！", "markup"),
        ("请点[这里](http://x)，小美！", "markup"),
        ("```\n小美您好\n```", "markup"),
        ("请访问https://evil.example/login。", "link"),
        ("请看evil.com领取礼品！", "link"),
        ("请看www.evil.example领取礼品！", "link"),
        ("请看ＥＶＩＬ．ＣＯＭ领取礼品！", "link"),
        ("请联系other@example.com，小美！", "contact"),
        ("请拨打139 0000 1111，小美！", "contact"),
        ("请拨打１３９００００１１１１，小美！", "contact"),
        ("请拨打+86-139-0000-1111，小美！", "contact"),
        ("请拨打1390000111113900001111139000011111390000111113900001111，小美！", "contact"),
        ("编号1.13900001111，小美！", "contact"),
        ("身份证 110101199003070000 已登记。", "contact"),
        ("我们的项目绝无副作用！", "forbidden_claim"),
        ("我们的项目 100 % 安全！", "forbidden_claim"),
        ("我们的项目百 分 之 百 安 全！", "forbidden_claim"),
        ("我们的项目１００％安全！", "forbidden_claim"),
        ("保证 - 有效，小美！", "forbidden_claim"),
        ("Hello 小美, welcome to AnmeiSmart, ask me anything at any time.", "wrong_language"),
        ("小美様、安美智享へようこそ。いつでもお気軽にご相談ください。", "wrong_language"),
        ("小美，您好！歡迎來到安美智享，我是您的專屬顧問，歡迎隨時諮詢醫美問題。", "wrong_language"),
        ("小美，您好！欢迎来到安美智", "incomplete"),
        ("小美，您好！我看到您关注皮肤管理，", "incomplete"),
    ],
)  # fmt: skip
def test_what_no_customer_may_see_is_refused(text: str, reason: str) -> None:
    verdict = guard.check(text, MEI, SETTINGS)

    assert verdict.reason == reason
    assert verdict.text == ""


@pytest.mark.parametrize(
    ("locale", "text"),
    [
        ("en", "Our treatments have no side effects. Welcome, dear customer!"),
        ("en", "Welcome! This is completely risk-free."),
        ("en", "Welcome! It is 100% safe, trust us."),
        ("ja", "ようこそ。当院の施術は副作用はありません。"),
        ("ko", "환영합니다! 저희 시술은 부작용이 없습니다."),
        ("zh-TW", "歡迎您！我們的療程絕無副作用。"),
    ],
)
def test_forbidden_claims_are_known_in_every_language_served(locale: str, text: str) -> None:
    assert reason_of(text, Recipient(locale, "x")) is GuardReason.FORBIDDEN_CLAIM


@pytest.mark.parametrize("text", ["Welcome! Milano risks nothing by asking.", "Welcome, casino riskier fans!"])
def test_a_claim_is_words_not_letters(text: str) -> None:
    assert reason_of(text, Recipient("en", "Ann")) is None


@pytest.mark.parametrize("locale", LOCALES)
def test_a_welcome_in_another_language_is_refused(locale: str) -> None:
    for other in LOCALES:
        text = answers.write(None, locale=other)
        expected = None if other == locale else GuardReason.WRONG_LANGUAGE

        assert reason_of(text, Recipient(locale, "x")) is expected, (locale, other)


def test_a_name_in_another_script_does_not_make_another_language() -> None:
    name = "Maximilian Alexander von Hohenzollern"

    assert reason_of(f"{name}，您好！欢迎您。", Recipient("zh-CN", name)) is None


def test_an_unknown_locale_is_not_judged() -> None:
    assert reason_of("Sveiki atvykę į AnmeiSmart, malonu!", Recipient("lt", "Jonas")) is None


def test_the_customers_own_contact_is_theirs_and_nobody_elses() -> None:
    text = "小美您好，您的手机13800000000与邮箱MEI@example.com已登记。"

    assert reason_of(text) is None
    assert reason_of(text, Recipient("zh-CN", "小美")) is GuardReason.CONTACT
    assert reason_of("您好，请致电 400-800-1234。", settings=GuardSettings(allowed_contacts=("400-800-1234",))) is None


def test_our_own_hosts_may_be_named() -> None:
    settings = GuardSettings(allowed_hosts=("anmeismart.com",))

    assert reason_of("详情见 https://www.anmeismart.com/hi ，欢迎您！", settings=settings) is None
    assert reason_of("详情见 https://anmeismart.com.evil.cn ，欢迎您！", settings=settings) is GuardReason.LINK
    assert reason_of("详情见 https://evil.cn/anmeismart.com ，欢迎您！", settings=settings) is GuardReason.LINK


def test_hidden_characters_are_taken_out_of_an_accepted_answer() -> None:
    verdict = guard.check("小美\u202e，您\u200b好！\x00\r\n欢迎您。", MEI, SETTINGS)

    assert verdict == guard.Verdict(None, "小美，您好！\n欢迎您。")


def test_the_checks_that_may_be_switched_off_are_off() -> None:
    settings = GuardSettings(check_language=False, require_ending=False, forbidden_phrases=())

    assert reason_of("Hello 小美, no side effects", settings=settings) is None


def test_the_list_of_claims_is_the_administrators() -> None:
    settings = GuardSettings(forbidden_phrases=("冻龄",))

    assert reason_of("让您冻 龄！", settings=settings) is GuardReason.FORBIDDEN_CLAIM
    assert reason_of("我们的项目绝无副作用！", settings=settings) is None
    with pytest.raises(ValidationError):
        GuardSettings(forbidden_phrases=("x",))
    with pytest.raises(ValidationError):
        GuardSettings.model_validate({"unknown": 1})


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("leaked_error_text", faults.KINDS["leaked_error_text"]["text"] + "\n小美，您好！"),
        ("medical_claim", "小美，您好！" + faults.KINDS["medical_claim"]["text"]),
        ("too_long", ("小美，您好！欢迎。" * 3000)[:20000]),
        ("wrong_language", answers.write(None, locale="en")),
        ("partial_answer", "小美，您好！欢迎来到安美智享。很高兴您通过微信找到我们。我看到您关注皮肤"),
        ("empty_answer", ""),
    ],
)
def test_every_wording_fault_of_the_simulator_is_refused(fault: str, text: str) -> None:
    assert fault in faults.KINDS
    assert reason_of(text) is not None


@each_hostile_text
def test_a_gullible_agents_echo_is_clean_or_refused(hostile: str) -> None:
    name = hostile[:500]
    verdict = guard.check(f"{name}，您好！欢迎来到安美智享，随时可以问我。", Recipient("zh-CN", name), SETTINGS)

    if verdict.accepted:
        shown = verdict.text.lower()
        assert not any(
            part in shown for part in ("<script", "<img", "http", "jrn_", "get_user_profile", "www.", "javascript:")
        )
        assert not any(part in shown for part in ("\u202e", "\x1b", "\x00", "\u200b", "副作用", "customer_data>"))
        assert len(shown) <= SETTINGS.max_characters
    else:
        assert verdict.text == ""


@given(st.text(max_size=400))
def test_any_answer_gets_a_verdict(text: str) -> None:
    verdict = guard.check(text, MEI, SETTINGS)

    assert verdict.accepted == (verdict.text != "")


@given(
    st.lists(
        st.sampled_from(["小美", "您好", "。", "！", "欢迎您", "绝无副", "作用", "jrn_abc", "，", "\n", "13900001111"]),
        max_size=30,
    )
)
def test_a_preview_shows_the_answers_beginning_and_no_refused_sentence(pieces: list[str]) -> None:
    shown: list[str] = []
    preview = GuardedPreview(shown.append, MEI, SETTINGS)

    for piece in pieces:
        preview.take(piece)

    text = "".join(shown)
    assert "".join(pieces).startswith(text)
    assert not any(part in text for part in ("绝无副作用", "jrn_", "1390000"))
    if preview.refused:
        assert guard.check_so_far("".join(pieces), MEI, SETTINGS).reason is not None


def test_a_preview_comes_sentence_by_sentence_and_stops_for_good() -> None:
    shown: list[str] = []
    preview = GuardedPreview(shown.append, MEI, SETTINGS)

    for piece in ["小美，", "您好", "！欢迎来到", "安美智享。绝无副", "作用。祝您愉快。"]:
        preview.take(piece)

    assert shown == ["小美，您好！", "欢迎来到安美智享。"]
    assert preview.refused
