"""The errors of the product. Shells translate them; nothing foreign passes a client's or the database's edge.

AnmeiError
├── InvalidInputError            the caller must change something
├── NotAuthenticatedError        who is calling is not known
├── NotAllowedError              known, but may not
├── NotFoundError                missing, or not visible to the caller
├── ConflictError                somebody else was first, or the state forbids it
├── RateLimitedError             too many calls; carries when to come back
├── TransientError               the same call may succeed later: the only kind that is retried
│   ├── DatabaseUnavailableError
│   ├── BrokerUnavailableError
│   └── AgentTransientError      network, 5xx, concurrency limit
└── PermanentError               retrying cannot help
    └── AgentPermanentError      key, application, quota, parameters
"""


class AnmeiError(Exception):
    """Base of all our errors: a stable code, and a text that may be shown to the caller (never a secret)."""

    code = "INTERNAL_ERROR"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class InvalidInputError(AnmeiError):
    code = "INVALID_INPUT"


class NotAuthenticatedError(AnmeiError):
    code = "NOT_AUTHENTICATED"


class NotAllowedError(AnmeiError):
    code = "NOT_ALLOWED"


class NotFoundError(AnmeiError):
    code = "NOT_FOUND"


class ConflictError(AnmeiError):
    code = "CONFLICT"


class RateLimitedError(AnmeiError):
    code = "RATE_LIMITED"

    def __init__(self, message: str, *, retry_after_seconds: int = 1, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_seconds = retry_after_seconds


class TransientError(AnmeiError):
    code = "TRANSIENT"


class DatabaseUnavailableError(TransientError):
    code = "DATABASE_UNAVAILABLE"


class BrokerUnavailableError(TransientError):
    code = "BROKER_UNAVAILABLE"


class AgentTransientError(TransientError):
    code = "AGENT_TRANSIENT"


class PermanentError(AnmeiError):
    code = "PERMANENT"


class AgentPermanentError(PermanentError):
    code = "AGENT_PERMANENT"
