"""Which language a text is written in, as far as its script tells. Heuristics: no model, no word lists."""

import re
import unicodedata
from collections import Counter

# Languages whose script we know; a locale not listed is not judged.
_SCRIPTS = {
    "zh": "HAN", "ja": "HAN", "ko": "HANGUL",
    "en": "LATIN", "fr": "LATIN", "de": "LATIN", "es": "LATIN", "pt": "LATIN", "it": "LATIN", "nl": "LATIN", "vi": "LATIN",
    "id": "LATIN", "ms": "LATIN", "tr": "LATIN", "pl": "LATIN", "sv": "LATIN", "fil": "LATIN",
    "ru": "CYRILLIC", "uk": "CYRILLIC", "ar": "ARABIC", "fa": "ARABIC", "th": "THAI", "hi": "DEVANAGARI", "he": "HEBREW",
    "el": "GREEK",
}  # fmt: skip
_TRADITIONAL_REGIONS = frozenset({"hant", "tw", "hk", "mo"})
# Frequent characters that only one of the two Chinese scripts has, pairwise.
_SIMPLIFIED = frozenset("欢来专属询随时问题过关们应为请务护疗体让给个获问议对说认识开乐见经发图区华预约团队颜肤实验")
_TRADITIONAL = frozenset("歡來專屬詢隨時問題過關們應為請務護療體讓給個獲問議對說認識開樂見經發圖區華預約團隊顏膚實驗")
_SIMPLIFIED_ONES = re.compile(f"[{''.join(sorted(_SIMPLIFIED - _TRADITIONAL))}]")
_TRADITIONAL_ONES = re.compile(f"[{''.join(sorted(_TRADITIONAL - _SIMPLIFIED))}]")
_IDEOGRAPHS = re.compile("[\u4e00-\u9fff]+")
_NO_LETTERS = re.compile(r"[\W\d_]+")
# Fewer letters than this say nothing certain.
_LETTERS_TO_JUDGE = 6


def speaks(text: str, locale: str | None) -> bool:
    """Tell whether the text may be in the locale's language; True where the script cannot tell."""
    parts = (locale or "zh-CN").replace("_", "-").lower().split("-")
    expected = _SCRIPTS.get(parts[0])
    counts = _count(text)
    letters = sum(counts.values())
    if expected is None or letters < _LETTERS_TO_JUDGE:
        return True
    kana, hangul = counts["KANA"], counts["HANGUL"]
    if parts[0] == "ja":
        # A sentence of Japanese without kana does not occur in a greeting; one of Chinese has none.
        return kana * 5 >= letters
    if parts[0] == "zh":
        # Latin letters weigh less: a brand's name has many, and says in one word what Chinese says in two characters.
        weighed = counts["HAN"] + kana + hangul + (letters - counts["HAN"] - kana - hangul) / 3
        return counts["HAN"] * 2 > weighed and kana * 10 < letters and _right_chinese(text, parts)
    return counts[expected] * 2 > letters


def _right_chinese(text: str, parts: list[str]) -> bool:
    simplified, traditional = len(_SIMPLIFIED_ONES.findall(text)), len(_TRADITIONAL_ONES.findall(text))
    wrong, right = (simplified, traditional) if _TRADITIONAL_REGIONS & set(parts) else (traditional, simplified)
    # A name or a quotation may bring one or two of the other script.
    return wrong < 3 or right >= wrong


def _count(text: str) -> "Counter[str]":
    # The most frequent script, and what is no letter at all, without asking for names.
    rest = _IDEOGRAPHS.sub("", text)
    counts = Counter(HAN=len(text) - len(rest))
    for character in _NO_LETTERS.sub("", rest):
        if not character.isalpha():
            continue
        name = "LATIN" if character.isascii() else unicodedata.name(character, "")
        if name.startswith("CJK"):
            counts["HAN"] += 1
        elif name.startswith(("HIRAGANA", "KATAKANA")):
            counts["KANA"] += 1
        else:
            counts[name.partition(" ")[0]] += 1
    return counts
