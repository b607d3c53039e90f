"""Invented customers: seeded, so that a run can be repeated, and varied enough to meet real text."""

from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID

_FAMILY = "王李张刘陈杨黄赵吴周徐孙马朱胡林郭何高罗"
_GIVEN = (
    "雨桐",
    "梓涵",
    "欣怡",
    "诗雅",
    "思琪",
    "佳宁",
    "子轩",
    "浩然",
    "晓彤",
    "美玲",
    "静怡",
    "若曦",
    "悦",
    "婷",
    "娜",
    "敏",
)
_NICK = ("小美", "爱笑的{}", "{}今天也要漂亮", "{}✨", "不吃糖的{}", "{}在路上", "阿{}")
_FIRST = ("Emma", "Olivia", "Sophie", "Grace", "Chloe", "Mia", "Daniel", "Lucas", "Hannah", "Zoë", "Anaïs", "Siobhán")
_LAST = ("Miller", "Chen", "O'Connor", "García", "Novák", "Smith-Jones", "Lee", "Brown", "Müller")
_JAPANESE = ("佐藤さくら", "鈴木ひなた", "高橋ゆい", "田中あおい")
_KOREAN = ("김서연", "이하은", "박지우", "최수아")
_SOURCES = ("wechat", "wechat", "douyin", "xiaohongshu", "weibo", "website", "referral")
_INTERESTS = ("skin", "laser", "hydration", "antiaging", "contour", "eyes", "hair", "dental")
# Shares as a clinic chain in China sees them, with enough of the others to exercise every template.
_LOCALES = (("zh-CN", 78), ("en-US", 10), ("zh-TW", 5), ("ja-JP", 4), ("ko-KR", 3))


def registration(rng: Random, *, user_id: str | None = None, at: datetime | None = None) -> dict[str, Any]:
    """Return one ``user.registered`` event as the webhook takes it."""
    now = at or datetime.now(UTC)
    locale = rng.choices([name for name, _ in _LOCALES], [share for _, share in _LOCALES])[0]
    name, handle = _name(rng, locale), f"{rng.getrandbits(40):010x}"
    data: dict[str, Any] = {
        "user_id": user_id or f"u-{UUID(int=rng.getrandbits(128), version=4)}",
        "username": name,
        "email": f"{handle}@example.com" if rng.random() < 0.7 else None,
        "phone": _phone(rng, locale),
        "avatar": f"https://cdn.example.com/a/{handle}.jpg" if rng.random() < 0.4 else None,
        "roles": ["customer"],
        "primary_role": "customer",
        "locale": locale,
        "source": rng.choice(_SOURCES),
        "interests": rng.sample(_INTERESTS, rng.randint(0, 3)),
        "registered_at": now.isoformat().replace("+00:00", "Z"),
    }
    return {"type": "user.registered", "timestamp": data["registered_at"], "data": data}


def registrations(count: int, *, seed: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield that many events of different people; the same seed gives the same people."""
    rng = Random(seed)
    for _ in range(count):
        yield registration(rng)


def _name(rng: Random, locale: str) -> str:
    if locale == "en-US":
        return f"{rng.choice(_FIRST)} {rng.choice(_LAST)}"
    if locale == "ja-JP":
        return rng.choice(_JAPANESE)
    if locale == "ko-KR":
        return rng.choice(_KOREAN)
    given = rng.choice(_GIVEN)
    return rng.choice(_NICK).format(given) if rng.random() < 0.35 else rng.choice(_FAMILY) + given


def _phone(rng: Random, locale: str) -> str:
    digits = f"{rng.randrange(10**8):08d}"
    prefixes = {"en-US": "+1415555", "zh-TW": "+8869", "ja-JP": "+8190", "ko-KR": "+8210"}
    if locale == "en-US":
        return prefixes[locale] + digits[:4]
    return prefixes.get(locale, f"+861{rng.choice('3578')}{rng.randrange(10)}") + digits
