"""Every way an agent call fails: stable codes, for records, policies and figures."""

from enum import StrEnum


class AgentCode(StrEnum):
    """Stable codes of agent failures."""

    # Transient: the same call may succeed later.
    TIMEOUT = "AGENT_TIMEOUT"
    UNREACHABLE = "AGENT_UNREACHABLE"
    CONNECTION_LOST = "AGENT_CONNECTION_LOST"
    POOL_EXHAUSTED = "AGENT_POOL_EXHAUSTED"
    UNAVAILABLE = "AGENT_UNAVAILABLE"
    BUSY = "AGENT_BUSY"
    BAD_RESPONSE = "AGENT_BAD_RESPONSE"
    NO_TERMINAL_EVENT = "AGENT_NO_TERMINAL_EVENT"
    EMPTY_ANSWER = "AGENT_EMPTY_ANSWER"
    COMPLETION_ERROR = "AGENT_COMPLETION_ERROR"
    RUN_FAILED = "AGENT_RUN_FAILED"
    RUN_STOPPED = "AGENT_RUN_STOPPED"
    INTERRUPTED = "AGENT_INTERRUPTED"
    # Permanent: somebody must change something first.
    BAD_KEY = "AGENT_BAD_KEY"
    FORBIDDEN = "AGENT_FORBIDDEN"
    NOT_FOUND = "AGENT_NOT_FOUND"
    BAD_REQUEST = "AGENT_BAD_REQUEST"
    MISCONFIGURED = "AGENT_MISCONFIGURED"
    QUOTA = "AGENT_QUOTA"
    BAD_URL = "AGENT_BAD_URL"
    REDIRECTED = "AGENT_REDIRECTED"
    RESPONSE_TOO_LARGE = "AGENT_RESPONSE_TOO_LARGE"
    CONTENT_FILTERED = "AGENT_CONTENT_FILTERED"
    UNSUPPORTED = "AGENT_UNSUPPORTED"
    CLIENT_FAULT = "AGENT_CLIENT_FAULT"


TRANSIENT_CODES = frozenset(
    {
        AgentCode.TIMEOUT,
        AgentCode.UNREACHABLE,
        AgentCode.CONNECTION_LOST,
        AgentCode.POOL_EXHAUSTED,
        AgentCode.UNAVAILABLE,
        AgentCode.BUSY,
        AgentCode.BAD_RESPONSE,
        AgentCode.NO_TERMINAL_EVENT,
        AgentCode.EMPTY_ANSWER,
        AgentCode.COMPLETION_ERROR,
        AgentCode.RUN_FAILED,
        AgentCode.RUN_STOPPED,
        AgentCode.INTERRUPTED,
    }
)
# May be lasting although they look transient, and each retry is a paid run: the caller repeats these at most twice.
BOUNDED_RETRY_CODES = frozenset({AgentCode.COMPLETION_ERROR, AgentCode.RUN_FAILED, AgentCode.EMPTY_ANSWER})
MAX_BOUNDED_RETRIES = 2
