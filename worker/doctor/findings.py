"""What a check says: a finding, its verdict, and the remedy where something is wrong."""

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    OK = "ok"
    # Worth knowing; nothing is broken.
    NOTE = "note"
    WRONG = "wrong"


class Finding(NamedTuple):
    """What one check found; the remedy says what to do where something is wrong."""

    check: str
    verdict: Verdict
    detail: str
    remedy: str = ""


def ok(check: str, detail: str) -> Finding:
    return Finding(check, Verdict.OK, detail)


def note(check: str, detail: str, remedy: str = "") -> Finding:
    return Finding(check, Verdict.NOTE, detail, remedy)


def wrong(check: str, detail: str, remedy: str) -> Finding:
    return Finding(check, Verdict.WRONG, detail, remedy)
