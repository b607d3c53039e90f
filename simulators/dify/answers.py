"""The simulated model's words: personal only with a profile that came back from the tool, generic otherwise."""

import json
import re
from random import Random
from typing import Any

_LABELS = {
    "zh": {
        "wechat": "微信", "douyin": "抖音", "xiaohongshu": "小红书", "weibo": "微博", "website": "官网",
        "referral": "朋友推荐", "skin": "皮肤管理", "laser": "激光美肤", "hair": "植发养发", "contour": "轮廓塑形",
        "eyes": "眼部年轻化", "dental": "美学牙科", "antiaging": "抗衰", "hydration": "补水",
    },
}  # fmt: skip
# locale family -> (greeting, returning, source, interests, offer, generic)
_WORDS: dict[str, dict[str, str]] = {
    "zh": {
        "new": "{name}，您好！欢迎来到安美智享。", "back": "{name}，您好！欢迎回到安美智享。",
        "source": "很高兴您通过{source}找到我们。", "interests": "我看到您关注{interests}，",
        "offer": "想了解什么都可以直接问我，我会为您推荐合适的方案，也可以请专属顾问与您联系。",
        "warm": "祝您今天心情愉快～", "comma": "、",
        "generic": "您好，欢迎来到安美智享！我是您的专属AI咨询助手，您可以随时向我咨询医美相关问题。",
    },
    "zh-TW": {
        "new": "{name}，您好！歡迎來到安美智享。", "back": "{name}，您好！歡迎回到安美智享。",
        "source": "很高興您透過{source}找到我們。", "interests": "您關注的{interests}，", "offer": "歡迎隨時向我諮詢。",
        "warm": "祝您有美好的一天～", "comma": "、",
        "generic": "您好，歡迎來到安美智享！我是您的專屬AI諮詢助手，歡迎隨時向我諮詢。",
    },
    "en": {
        "new": "Hello {name}, welcome to AnmeiSmart. ", "back": "Hello {name}, welcome back to AnmeiSmart. ",
        "source": "We are glad you found us through {source}. ", "interests": "I see you are interested in {interests}. ",
        "offer": "Ask me anything, and I will suggest what suits you or bring in your personal consultant.",
        "warm": " Have a lovely day!", "comma": ", ",
        "generic": "Hello and welcome to AnmeiSmart! I am your personal AI consultant; ask me anything at any time.",
    },
    "ja": {
        "new": "{name}様、安美智享へようこそ。", "back": "{name}様、お帰りなさいませ。", "source": "{source}からのご登録ありがとうございます。",
        "interests": "{interests}にご興味をお持ちですね。", "offer": "いつでもお気軽にご相談ください。", "warm": "素敵な一日を。", "comma": "、",
        "generic": "安美智享へようこそ。専属AIアシスタントです。いつでもお気軽にご相談ください。",
    },
    "ko": {
        "new": "{name}님, 안메이스마트에 오신 것을 환영합니다. ", "back": "{name}님, 다시 오신 것을 환영합니다. ",
        "source": "{source}에서 찾아 주셔서 감사합니다. ", "interests": "{interests}에 관심이 있으시군요. ",
        "offer": "언제든지 편하게 문의해 주세요.", "warm": " 좋은 하루 되세요!", "comma": ", ",
        "generic": "안메이스마트에 오신 것을 환영합니다. 전담 AI 상담사입니다. 언제든지 편하게 문의해 주세요.",
    },
}  # fmt: skip
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_OTHER_ID = re.compile(r"(?:jrn_[A-Za-z0-9_-]{6,}|\bu-[A-Za-z0-9-]+)")
_NAME_LENGTH = 40


def family(locale: str | None) -> str:
    """Map a BCP 47 tag to one of the languages the model writes; unknown ones get English, none at all Chinese."""
    if not locale:
        return "zh"
    lowered = locale.lower().replace("_", "-")
    if lowered.startswith("zh"):
        return "zh-TW" if any(part in lowered for part in ("tw", "hk", "mo", "hant")) else "zh"
    return next((known for known in ("en", "ja", "ko") if lowered.startswith(known)), "en")


def profile_in(text: str) -> dict[str, Any] | None:
    """Read the customer's profile out of a tool's text, bare or wrapped in ``data``; None when there is none in it."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return None
    if isinstance(value, dict) and isinstance(value.get("data"), dict):
        value = value["data"]
    if not isinstance(value, dict) or not isinstance(value.get("username"), str) or not value["username"]:
        return None
    return value


def write(profile: dict[str, Any] | None, *, locale: str | None, style: str = "plain") -> str:
    """Return the welcome. Personal facts come from the profile alone; ``locale`` only chooses the language without one."""
    if profile is None:
        return _WORDS[family(locale)]["generic"]
    language = family(profile.get("locale") or locale)
    words, labels = _WORDS[language], _LABELS.get(language, {})
    name = _INVISIBLE.sub("", profile["username"])[:_NAME_LENGTH]
    text = words["back" if profile.get("is_new_user") is False else "new"].format(name=name)
    if style == "terse":
        return text.strip()
    if isinstance(source := profile.get("source"), str) and source:
        text += words["source"].format(source=labels.get(source, source))
    if interests := _interests(profile.get("interests")):
        text += words["interests"].format(interests=words["comma"].join(labels.get(item, item) for item in interests))
    return text + words["offer"] + (words["warm"] if style == "warm" else "")


def _interests(value: object) -> list[str]:
    if isinstance(value, str):
        value = re.split(r"[,，、;]\s*", value)
    if not isinstance(value, list):
        return []
    return [item for item in value if isinstance(item, str) and item][:5]


def other_language(locale: str | None) -> str:
    """A locale the customer did not ask for."""
    return "zh-CN" if family(locale) in ("en", "ja", "ko") else "en"


def other_id_in(query: str, inputs: dict[str, Any]) -> str | None:
    """The first user id or handle in free text that is not the run's own: what a gullible model would ask for."""
    own = inputs.get("user_id")
    texts = [query, *(str(value) for name, value in inputs.items() if name != "user_id")]
    return next((found for text in texts for found in _OTHER_ID.findall(text) if found != own), None)


def pieces(text: str, rng: Random, wanted: int) -> list[str]:
    """Cut the text into about ``wanted`` uneven deltas; at least one, which may be empty."""
    if wanted <= 1 or len(text) < 2:
        return [text]
    cuts = sorted(rng.sample(range(1, len(text)), min(wanted - 1, len(text) - 1)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
