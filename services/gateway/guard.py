"""What an answer must pass before a customer sees it. Pure; refusing costs personality only, the template greets instead."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from services.gateway import script
from services.gateway.settings import GuardSettings
from services.gateway.text import clean_text


class GuardReason(StrEnum):
    """Why an answer was refused; stable, for figures and review."""

    EMPTY = "empty"
    TOO_LONG = "too_long"
    LEAKED_ERROR = "leaked_error"
    LEAKED_TOOL = "leaked_tool"
    LEAKED_ID = "leaked_id"
    MARKUP = "markup"
    LINK = "link"
    CONTACT = "contact"
    FORBIDDEN_CLAIM = "forbidden_claim"
    WRONG_LANGUAGE = "wrong_language"
    INCOMPLETE = "incomplete"
    MODERATED = "moderated"


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom the answer is for: what of a person it may contain is this customer's alone."""

    locale: str | None
    username: str
    email: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`text` is what may be shown, cleaned of control characters; empty when refused. `detail` is for the reviewer."""

    reason: GuardReason | None
    text: str = ""
    detail: str = ""

    @property
    def accepted(self) -> bool:
        return self.reason is None


Refusal = tuple[GuardReason, str]
Rule = Callable[[str, Recipient, GuardSettings], Refusal | None]

# ASCII's word boundaries: a Chinese character beside a word is a boundary, not a part of it.
_ERRORS = re.compile(
    r"""(?ix)
    traceback\s\(most\srecent | tool\sinvoke\serror | \bfile\s"[^"]+",\sline\s\d+ | \b[a-z_]+(?:error|exception):\s
    | \bat\s[\w$.]+\(\w+\.[a-z]+:\d+\) | \berrno\s\d+ | \[errno | connection\srefused | \bhttpx?\.[a-z]+error
    | \b(?:400\sbad\srequest | 401\sunauthori[sz]ed | 403\sforbidden | 404\snot\sfound | 429\stoo\smany | 502\sbad\sgateway
      | 503\sservice\sunavailable | 504\sgateway)
    | internal\sserver\serror | \binvalid_param\b | \bcompletion_request_error\b | rate\slimit\s(?:error|reached)
    | "?(?:error_code|status_code)"?\s*[:=] | \bUSER_NOT_FOUND\b | \bnull\sreference\b | segmentation\sfault
    | \bapi[\s_-]?key\b
    """,
    re.ASCII,
)
_TOOLS = re.compile(
    r"""(?ix)
    \bget_user_profile\b | \banalyze_customer\b | \bget_conversation_data\b | \bget_(?:business|project)_metrics\b
    | </?tool_(?:call|response)s?> | <\|[a-z_]+\|> | \b(?:tool_calls?|tool_input|function_call)\b | \binclude_details\b
    | ^\s*(?:thought|observation|action|action\sinput|final\sanswer)\s*: | </?think> | </?customer_data>
    | "(?:user_id|username|is_new_user|primary_role|registration_time)"\s*:
    | \{\{.*?\}\} | \{%.*?%\} | \bsystem\sprompt\b | \bas\san\s(?:ai\s)?(?:large\s)?language\smodel\b
    | 系统提示词 | 作为一个?(?:ai|人工智能)?(?:大?语言)模型
    """,
    re.MULTILINE | re.ASCII,
)
_IDS = re.compile(
    r"(?i)jrn_[a-z0-9_-]{2,}|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
    r"|\b(?:mcp_key|app|sk)[-_][a-z0-9_-]{12,}",
    re.ASCII,
)
_MARKUP = re.compile(
    r"(?i)</?[a-z][a-z0-9-]*(?:\s[^<>]*)?/?>|<!--|!?\[[^\]\n]*\]\([^)\n]*\)|```|javascript:|data:[a-z]+/"
)
_LINK = re.compile(
    r"(?i)\b(?:https?|ftp)://([^\s/，。！？、）)]+)|\bwww\.([a-z0-9.-]+)"
    r"|(?<![@\w.-])((?:[a-z0-9-]+\.)+(?:com|cn|net|org|io|cc|top|xyz|info|biz|me|ru|shop|site|online|vip|app))(?![\w-])",
    re.ASCII,
)
_URL = re.compile(r"(?i)(?:https?://|www\.)[!-~]+")
# Starts where a word starts and no later, so that a long word without @ is read once and not from each of its letters.
_EMAIL = re.compile(r"(?i)(?<![a-z0-9._%+-])[a-z0-9._%+-]++@[a-z0-9-]+(?:\.[a-z0-9-]+)+")
_DIGITS = re.compile(r"(?<!\d)\+?\(?\d(?:[\s().-]?\d){6,}")
_DATE = re.compile(r"(?:19|20)\d\d[\s./-]?(?:0?[1-9]|1[0-2])[\s./-]?(?:0?[1-9]|[12]\d|3[01])")
_NO_WORD = re.compile(r"[\W_]+")
_BLANK_BESIDE_CJK = re.compile(r" (?:(?<=[^\x00-\x7f] )|(?=[^\x00-\x7f]))")
# What whole sentences end with: punctuation, closing marks, and (by category, below) symbols such as emoji.
_ENDINGS = frozenset("。！？!?.…～~♪”’\"'）)】」』》>;；")
_SYMBOLS = ("So", "Sk", "Sm")


def check(answer: str, recipient: Recipient, settings: GuardSettings, *, moderated: bool = False) -> Verdict:
    """Return what may be shown, or the first reason why nothing may.

    What a provider's moderation says in place of an answer is an apology, and no welcome.
    """
    if moderated:
        return Verdict(GuardReason.MODERATED, detail="the provider's moderation replaced the answer")
    text = clean_text(answer[: settings.max_characters * 4])
    refusal = _first_refusal(
        text, recipient, settings, [_empty, _too_long, *_CONTENT_RULES, _wrong_language, _incomplete]
    )
    return Verdict(None, text) if refusal is None else Verdict(refusal[0], detail=refusal[1])


def check_so_far(text: str, recipient: Recipient, settings: GuardSettings) -> Verdict:
    """Like `check` for the beginning of an answer still being written: what only a whole text can show is not asked."""
    cleaned = clean_text(text[: settings.max_characters * 4])
    refusal = _first_refusal(cleaned, recipient, settings, [_too_long, *_CONTENT_RULES, _wrong_language])
    return Verdict(None, cleaned) if refusal is None else Verdict(refusal[0], detail=refusal[1])


def _first_refusal(text: str, recipient: Recipient, settings: GuardSettings, rules: list[Rule]) -> Refusal | None:
    # Full-width digits and letters say the same as plain ones.
    flat = unicodedata.normalize("NFKC", text)
    for rule in rules:
        refusal = rule(text if rule is _incomplete else flat, recipient, settings)
        if refusal is not None:
            return refusal
    return None


def _empty(text: str, _: Recipient, __: GuardSettings) -> Refusal | None:
    return None if sum(character.isalnum() for character in text) >= 2 else (GuardReason.EMPTY, "")


def _too_long(text: str, _: Recipient, settings: GuardSettings) -> Refusal | None:
    return None if len(text) <= settings.max_characters else (GuardReason.TOO_LONG, f"over {settings.max_characters}")


def _matching(pattern: re.Pattern[str], reason: GuardReason) -> Rule:
    def rule(text: str, _: Recipient, __: GuardSettings) -> Refusal | None:
        found = pattern.search(text)
        return None if found is None else (reason, found.group()[:80])

    return rule


def _link(text: str, _: Recipient, settings: GuardSettings) -> Refusal | None:
    if "." not in text and "://" not in text:
        return None
    allowed = {host.lower() for host in settings.allowed_hosts}
    for found in _LINK.finditer(_EMAIL.sub(" ", text)):
        host = next(group for group in found.groups() if group).lower().partition(":")[0]
        if host not in allowed and host.removeprefix("www.") not in allowed:
            return GuardReason.LINK, found.group()[:80]
    return None


def _contact(text: str, recipient: Recipient, settings: GuardSettings) -> Refusal | None:
    """Refuse an address or number that is neither the customer's own nor one of ours: it is somebody else's."""
    known = {one.lower() for one in (*settings.allowed_contacts, recipient.email or "")}
    if "@" in text and any(found.group().lower() not in known for found in _EMAIL.finditer(text)):
        return GuardReason.CONTACT, "e-mail address"
    if _DIGITS.search(text) is None:
        return None
    numbers = [_only_digits(one) for one in (*settings.allowed_contacts, recipient.phone or "")]
    for found in _DIGITS.finditer(text):
        digits = _only_digits(found.group())
        # Without its country's prefix it is the same number.
        own = any(len(number) >= 7 and number.endswith(digits[-11:]) for number in numbers)
        if not own and not _DATE.fullmatch(found.group().strip()):
            return GuardReason.CONTACT, "number"
    return None


def _forbidden_claim(text: str, _: Recipient, settings: GuardSettings) -> Refusal | None:
    flat = _flatten(text)
    for phrase, plain, pattern in _claims(settings.forbidden_phrases):
        # Nearly no answer holds any of them, and looking for a plain text costs a tenth.
        if plain in flat and pattern.search(flat):
            return GuardReason.FORBIDDEN_CLAIM, phrase
    return None


def _wrong_language(text: str, recipient: Recipient, settings: GuardSettings) -> Refusal | None:
    # The name is the customer's own and may be in any script.
    name = unicodedata.normalize("NFKC", recipient.username).strip()
    spoken = text.replace(name, " ") if name else text
    if "." in spoken or "://" in spoken:
        spoken = _EMAIL.sub(" ", _URL.sub(" ", spoken))
    if not settings.check_language or script.speaks(spoken, recipient.locale):
        return None
    return GuardReason.WRONG_LANGUAGE, f"expected {recipient.locale or 'zh-CN'}"


def _incomplete(text: str, _: Recipient, settings: GuardSettings) -> Refusal | None:
    if not settings.require_ending or not text:
        return None
    last = text.rstrip("\ufe0f\u200d \n*_")[-1:]
    if last in _ENDINGS or unicodedata.category(last or "x") in _SYMBOLS:
        return None
    return GuardReason.INCOMPLETE, f"ends with {text[-20:]!r}"


_CONTENT_RULES: list[Rule] = [
    _matching(_ERRORS, GuardReason.LEAKED_ERROR),
    _matching(_TOOLS, GuardReason.LEAKED_TOOL),
    _matching(_IDS, GuardReason.LEAKED_ID),
    _matching(_MARKUP, GuardReason.MARKUP),
    _link,
    _contact,
    _forbidden_claim,
]


def _flatten(text: str) -> str:
    """Return the words in small letters, one blank between them, none beside characters of scripts that need none."""
    return _BLANK_BESIDE_CJK.sub("", _NO_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold())).strip()


@lru_cache(maxsize=8)
def _claims(phrases: tuple[str, ...]) -> tuple[tuple[str, str, re.Pattern[str]], ...]:
    """Return each phrase with its words in plain, and the pattern that finds them where words begin and end."""
    flattened = ((phrase, _flatten(phrase)) for phrase in phrases)
    return tuple(
        (phrase, flat, re.compile(rf"(?<![a-z0-9]){re.escape(flat)}(?![a-z0-9])")) for phrase, flat in flattened if flat
    )


def _only_digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())
