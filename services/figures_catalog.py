"""The metrics by name: what each means, its labels, and the label values that are shown before anything happened."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from models import AttemptOutcome, Channel, JourneyStatus, StepName, WelcomeSource
from queries.figures import CLAIM_BOUNDS, GREETING_TARGET_SECONDS, LATENCY_BOUNDS, RATING_BOUNDS, WORK_BOUNDS
from services.journey_plan import Queue
from services.retention import KINDS as RETENTION_KINDS


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Part(StrEnum):
    """Where a figure is read; a part that cannot be read is missing from the page, never shown as zero."""

    RECORD = "database"
    BROKER = "broker"
    DISK = "disk"
    PAGE = "page"


class WebhookResult(StrEnum):
    """How a webhook request may end: the bounded values of its metric's label."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    SKIPPED = "skipped"
    UNAUTHORIZED = "unauthorized"
    MALFORMED = "malformed"
    INVALID = "invalid"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    # Anything else that went wrong: a fault of ours.
    ERROR = "error"


Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `zeros` are label sets that exist from the start, so that a first event is seen as an increase."""

    name: str
    kind: Kind
    help: str
    labels: Labels = ()
    zeros: tuple[Labels, ...] = ()
    bounds: tuple[float, ...] = ()
    part: Part = Part.RECORD


def _each(*values: Iterable[str]) -> tuple[Labels, ...]:
    return tuple(tuple(str(value) for value in one) for one in product(*values))


_ENDED = [outcome for outcome in AttemptOutcome if outcome is not AttemptOutcome.RUNNING]
_FINAL = [JourneyStatus.SUCCEEDED, JourneyStatus.FAILED, JourneyStatus.SKIPPED, JourneyStatus.CANCELLED]
_OPEN = [JourneyStatus.ACCEPTED, JourneyStatus.RUNNING, JourneyStatus.FAILED]
_TARGET = f"{GREETING_TARGET_SECONDS:g} s"

METRICS: tuple[Metric, ...] = (
    Metric(
        "registration_webhook_requests_total",
        Kind.COUNTER,
        "Webhook requests by how they ended, refusals included.",
        ("outcome",),
        _each(WebhookResult),
    ),
    Metric(
        "registration_journeys_accepted_total",
        Kind.COUNTER,
        "Journeys begun; skipped registrations begin none.",
        (),
        ((),),
    ),
    Metric(
        "registration_journeys_total",
        Kind.COUNTER,
        "Journeys by outcome; failed counts a journey once, when its first dead letter opens, and it may still succeed after a replay.",
        ("outcome",),
        _each(_FINAL),
    ),
    Metric(
        "registration_journeys_open",
        Kind.GAUGE,
        "Journeys not finished; failed has an open dead letter.",
        ("status",),
        _each(_OPEN),
    ),
    Metric(
        "registration_step_duration_seconds",
        Kind.HISTOGRAM,
        "How long attempts worked that succeeded or failed.",
        ("step",),
        _each(StepName),
        WORK_BOUNDS,
    ),
    Metric(
        "registration_step_attempts_total",
        Kind.COUNTER,
        "Attempts that ended, by outcome.",
        ("step", "outcome"),
        _each(StepName, _ENDED),
    ),
    Metric(
        "registration_queue_wait_seconds",
        Kind.HISTOGRAM,
        "From a step being ready to its first attempt's begin, by the step's queue.",
        ("queue",),
        _each([Queue.JOURNEYS, Queue.AGENTS, Queue.NOTIFICATIONS]),
        WORK_BOUNDS,
    ),
    Metric(
        "registration_conversation_latency_seconds",
        Kind.HISTOGRAM,
        "From acceptance to the conversation.",
        (),
        ((),),
        LATENCY_BOUNDS,
    ),
    Metric(
        "registration_welcome_latency_seconds",
        Kind.HISTOGRAM,
        "From acceptance to a stored welcome, by who wrote it; a late agent's answer counts beside the template.",
        ("source",),
        _each(WelcomeSource),
        LATENCY_BOUNDS,
    ),
    Metric(
        "registration_greeting_latency_seconds",
        Kind.HISTOGRAM,
        "From acceptance to a customer's first welcome, whoever wrote it.",
        (),
        ((),),
        LATENCY_BOUNDS,
    ),
    Metric(
        "registration_greetings_due_total",
        Kind.COUNTER,
        f"Journeys accepted at least {_TARGET} ago: each should have been greeted by now.",
        (),
        ((),),
    ),
    Metric(
        "registration_greetings_in_time_total",
        Kind.COUNTER,
        f"Of the greetings due, those stored within {_TARGET} of acceptance.",
        (),
        ((),),
    ),
    Metric(
        "registration_greetings_overdue",
        Kind.GAUGE,
        "Open journeys whose deadline for a greeting passed without one.",
        (),
        ((),),
    ),
    Metric(
        "registration_dead_letters_open", Kind.GAUGE, "Dead letters nobody has replayed or discarded yet.", (), ((),)
    ),
    Metric(
        "registration_dead_letters_total", Kind.COUNTER, "Dead letters opened, by step.", ("step",), _each(StepName)
    ),
    Metric(
        "registration_oldest_open_journey_seconds",
        Kind.GAUGE,
        "Age of the oldest journey the engine still works on; those with a dead letter wait for people and do not count.",
        (),
        ((),),
    ),
    Metric(
        "agent_calls_total",
        Kind.COUNTER,
        "Agent calls by outcome; lost ones never ended, because their process died.",
        ("agent", "version", "outcome"),
    ),
    Metric(
        "agent_call_duration_seconds",
        Kind.HISTOGRAM,
        "How long agent calls took.",
        ("agent", "version"),
        (),
        LATENCY_BOUNDS,
    ),
    Metric(
        "agent_circuit_state",
        Kind.GAUGE,
        "Circuit of an enabled agent, the worst of its versions: 0 closed, 1 half open, 2 open.",
        ("agent",),
    ),
    Metric(
        "mcp_tool_calls_total",
        Kind.COUNTER,
        "MCP tool calls by outcome, refusals included.",
        ("tool", "group", "outcome"),
    ),
    Metric("mcp_tool_call_duration_seconds", Kind.HISTOGRAM, "How long MCP tool calls took.", ("tool",)),
    Metric(
        "consultant_notifications_total",
        Kind.COUNTER,
        "Notifications of consultants by what became of them.",
        ("channel", "outcome"),
        _each(Channel, ["sent", "failed"]),
    ),
    Metric(
        "consultant_claim_seconds",
        Kind.HISTOGRAM,
        "From the consultants being told to the first claim of a conversation.",
        (),
        ((),),
        CLAIM_BOUNDS,
    ),
    Metric(
        "welcome_feedback_rating",
        Kind.HISTOGRAM,
        "Customers' ratings of welcomes, 1 to 5, as first given.",
        (),
        ((),),
        RATING_BOUNDS,
    ),
    Metric("consultants_connected", Kind.GAUGE, "Consultants with at least one open socket.", (), ((),)),
    Metric(
        "celery_queue_length", Kind.GAUGE, "Messages waiting in a queue of the broker.", ("queue",), part=Part.BROKER
    ),
    Metric("celery_workers", Kind.GAUGE, "Workers heard of lately.", (), ((),)),
    Metric(
        "celery_queue_consumers", Kind.GAUGE, "Workers heard of lately that consume a queue.", ("queue",), _each(Queue)
    ),
    Metric(
        "anmei_settings_processes",
        Kind.GAUGE,
        "Processes by whether they run the newest version of these settings.",
        ("settings", "state"),
    ),
    Metric(
        "anmei_retention_rows_total",
        Kind.COUNTER,
        "Rows whose texts the retention pruned, by kind of data.",
        ("kind",),
        _each(RETENTION_KINDS),
    ),
    Metric(
        "anmei_retention_success_timestamp_seconds",
        Kind.GAUGE,
        "When a run of the retention last left nothing of this kind that is older than the settings say.",
        ("kind",),
    ),
    Metric(
        "anmei_retention_days",
        Kind.GAUGE,
        "Days this kind of data is kept; missing where it is kept for ever.",
        ("kind",),
    ),
    Metric("anmei_database_bytes", Kind.GAUGE, "Size of the database.", (), ((),)),
    Metric(
        "anmei_disk_free_bytes", Kind.GAUGE, "Free space where this process keeps its data directory.", part=Part.DISK
    ),
    Metric(
        "anmei_disk_size_bytes",
        Kind.GAUGE,
        "Size of the file system that holds this process's data directory.",
        part=Part.DISK,
    ),
    Metric(
        "anmei_figures_up",
        Kind.GAUGE,
        "Whether this part of the page could be read (1) or is missing (0).",
        ("part",),
        part=Part.PAGE,
    ),
    Metric("anmei_figures_collect_seconds", Kind.GAUGE, "How long collecting this page took.", part=Part.PAGE),
)
