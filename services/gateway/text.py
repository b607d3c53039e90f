"""Text from outside made harmless: no control, bidi or hidden characters, bounded length."""

import re
import unicodedata

_ZWJ = "\u200d"
_SPACE = re.compile(r"\s+")
# More marks on one letter than any script needs is noise stacked over neighbouring lines.
_MARKS_PER_LETTER = 4
# Cc control, Cf format (bidi overrides, zero-width, tags), Co private use, Cs surrogates, Cn unassigned.
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Co", "Cs", "Cn"})
# Invisible although Unicode calls them letters or marks.
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")
# What most texts consist of, and nothing below is about: printable ASCII, Latin letters, typographic marks, Chinese and
# Japanese characters, their punctuation and full-width forms, pictographs (without joiners and selectors).
_PLAIN = re.compile(
    "[\x20-\x7e\xa1-\xac\xae-\u024f\u2010-\u2027\u3001-\u3029\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff\uff01-\uff5e"
    "\U0001f300-\U0001f64f]*"
)


def clean_line(text: str, most_characters: int) -> str:
    """Return the text on one line: harmful characters removed, whitespace collapsed, at most so many characters."""
    # Bounded before anything else: normalising ten megabytes is work nobody asked for.
    text = unicodedata.normalize("NFC", text[: most_characters * 8])
    # Again after cleaning: what was taken out may have kept a letter and its accent apart.
    kept = unicodedata.normalize("NFC", _without_harmful(_SPACE.sub(" ", text)))
    return _SPACE.sub(" ", kept).strip()[:most_characters].strip()


def clean_text(text: str) -> str:
    """Return the text with its line breaks kept and harmful characters removed."""
    return "\n".join(line.rstrip() for line in strip_harmful(text).split("\n")).strip()


def strip_harmful(text: str) -> str:
    """Return the text without harmful characters; line breaks and blanks stay, so pieces of a text may be cleaned alone."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ").split("\n")
    return "\n".join(_without_harmful(line) for line in lines)


def _without_harmful(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    kept: list[str] = []
    marks = 0
    for index, character in enumerate(text):
        if character == _ZWJ and _joins_pictographs(text, index):
            kept.append(character)
            continue
        category = unicodedata.category(character)
        if "\U000e0100" <= character <= "\U000e01ef" or "\ufe00" <= character <= "\ufe0d":
            # Variation selectors show nothing and can carry any hidden text; those of emoji (FE0E, FE0F) stay.
            continue
        if category in _FORBIDDEN_CATEGORIES or character in _BLANK_LETTERS or category in ("Zl", "Zp"):
            continue
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks <= _MARKS_PER_LETTER:
            kept.append(character)
    return "".join(kept)


def _joins_pictographs(text: str, index: int) -> bool:
    """Tell whether the joiner stands inside an emoji such as a family; elsewhere it only hides things."""
    before = text[index - 1] if index else ""
    after = text[index + 1] if index + 1 < len(text) else ""
    return _is_pictograph(before) and _is_pictograph(after)


def _is_pictograph(character: str) -> bool:
    if not character:
        return False
    # Variation selector 16 and the skin tones stand between a pictograph and its joiner.
    return character == "\ufe0f" or unicodedata.category(character) in ("So", "Sk")
