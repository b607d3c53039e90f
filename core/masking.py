"""Personal data and secrets out of free text: for tracebacks, foreign log lines and whatever leaves the house."""

import re
from collections.abc import Iterable

# What a secret of ours, or of a provider we know, begins with.
_KEY = re.compile(r"\b(mcp_key_|app-|whsec_|jrn_|sk-|Bearer |Basic )[A-Za-z0-9_\-+/=.]{6,}")
_TOKEN = re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*")
_URL_PASSWORD = re.compile(r"(://[^\s:/@]*):[^\s@]+@")
_SAID_PASSWORD = re.compile(
    r"(?i)\b((?:password|passwd|secret|api[_-]?key|token)\b[^:=\n]{0,40}[:=]\s*[\"']?)[^\s\"',;]{4,}"
)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
# With a plus, or a mainland mobile number: any other run of digits may as well be an id or a time.
_PHONE = re.compile(r"(?<![\w.-])(?:\+\d[\d -]{6,16}\d|1[3-9]\d{9})(?![\w.-])")
# PostgreSQL quotes the row or the values it refused, and escapes nothing in them: only the line's end surely ends them.
# What was masked before, as in a log line of ours that is kept or bundled, is not masked again: the rest is another field.
_QUOTED_ROW = re.compile(r"(Failing row contains |Key \(.*?\)=)(?!\(\*\*\*\)(?:[\"\\]|$)).*", re.MULTILINE)


def masked_text(text: str, known_secrets: Iterable[str] = ()) -> str:
    """Return the text without keys, passwords, e-mail addresses, phone numbers, quoted rows, and the secrets given."""
    for secret in known_secrets:
        text = text.replace(secret, "***")
    text = _QUOTED_ROW.sub(r"\1(***)", text)
    text = _KEY.sub(r"\1***", _TOKEN.sub("***", text))
    text = _SAID_PASSWORD.sub(r"\1***", _URL_PASSWORD.sub(r"\1:***@", text))
    return _PHONE.sub("***", _EMAIL.sub("***", text))
