"""Identifiers: time-ordered UUIDs for rows, random handles for strangers."""

import secrets
from uuid import UUID

import uuid_utils
from uuid_utils.compat import uuid7

HANDLE_PREFIX = "jrn_"


def new_id() -> UUID:
    """Return a UUIDv7 (RFC 9562): unique, and ordered by the millisecond it was made in."""
    return uuid7()


def new_id_text() -> str:
    """Return a fresh id as the text that goes into JSON, at a fraction of what making the object and printing it costs."""
    return str(uuid_utils.uuid7())


def new_handle() -> str:
    """Return an opaque handle for one journey's customer: 144 random bits, so that it can be neither guessed nor chosen."""
    return HANDLE_PREFIX + secrets.token_urlsafe(18)
