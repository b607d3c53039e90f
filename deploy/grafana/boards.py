"""The dashboards as data: what each panel shows, of which unit, and why somebody looks at it."""

from dataclasses import dataclass, field

# Figures of the record are the same on every target: one of them, never their sum.
ONE = "max without (instance, job)"
RATE = "[$__rate_interval]"


@dataclass(frozen=True)
class Panel:
    """One panel. `queries` maps a legend (Grafana's format) to an expression; units are Grafana's ids."""

    title: str
    description: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"
    width: int = 8
    stacked: bool = False
    # Value → colour, from low to high; the first applies below the second.
    thresholds: tuple[tuple[float | None, str], ...] = ((None, "green"),)
    decimals: int | None = None


@dataclass(frozen=True)
class Variable:
    """A choice at the top of the board, from the values of a label."""

    name: str
    label: str
    metric: str


@dataclass(frozen=True)
class Board:
    """One dashboard: rows of panels under a heading."""

    uid: str
    title: str
    description: str
    rows: dict[str, list[Panel]]
    variables: tuple[Variable, ...] = field(default=())


def quantiles(metric: str, by: str = "", where: str = "") -> dict[str, str]:
    """p50, p95 and p99 of a histogram."""
    selector = f"{metric}_bucket{{{where}}}" if where else f"{metric}_bucket"
    grouped = f"sum by (le{', ' + by if by else ''}) ({ONE} (rate({selector}{RATE})))"
    legend = f"{{{{{by}}}}} " if by else ""
    return {f"{legend}p{q}": f"histogram_quantile(0.{q}, {grouped})" for q in ("50", "95", "99")}


def per_second(metric: str, by: str, where: str = "") -> dict[str, str]:
    """A counter's rate by one label."""
    selector = f"{metric}{{{where}}}" if where else metric
    return {f"{{{{{by}}}}}": f"sum by ({by}) ({ONE} (rate({selector}{RATE})))"}


GOOD_SHARE = ((None, "red"), (0.99, "orange"), (0.995, "green"))
NONE_IS_GOOD = ((None, "green"), (1, "red"))
SOME_IS_GOOD = ((None, "red"), (1, "green"))
WITHIN_TARGET = ((None, "green"), (2.5, "orange"), (3, "red"))

_IN_TIME = "registration_greetings_in_time_total"
_DUE = "registration_greetings_due_total"

OVERVIEW = Board(
    uid="anmei-overview",
    title="Overview",
    description="Is every new customer greeted in time, and does anybody have to act?",
    rows={
        "Promise": [
            Panel(
                "Greeted within 3 s, 30 days",
                "The service level: of the registrations whose three seconds are up, the share greeted within them. The aim is 99 %.",
                "percentunit",
                {
                    "greeted in time": f"clamp_max({ONE} (increase({_IN_TIME}[30d])) / ({ONE} (increase({_DUE}[30d])) > 0), 1)"
                },
                kind="stat",
                width=6,
                thresholds=GOOD_SHARE,
                decimals=2,
            ),
            Panel(
                "Error budget left, 30 days",
                "How much of the one per cent that may be late is left; below zero the service level is broken.",
                "percentunit",
                {
                    "left": f"1 - (1 - clamp_max({ONE} (increase({_IN_TIME}[30d])) / ({ONE} (increase({_DUE}[30d])) > 0), 1)) / 0.01"
                },
                kind="stat",
                width=6,
                thresholds=((None, "red"), (0, "orange"), (0.25, "green")),
                decimals=0,
            ),
            Panel(
                "Journeys that succeeded, 1 day",
                "Of the journeys that ended well or badly, the share that ended well.",
                "percentunit",
                {
                    "succeeded": f'sum({ONE} (increase(registration_journeys_total{{outcome="succeeded"}}[1d])))'
                    f' / (sum({ONE} (increase(registration_journeys_total{{outcome=~"succeeded|failed"}}[1d]))) > 0)'
                },
                kind="stat",
                width=6,
                thresholds=GOOD_SHARE,
                decimals=2,
            ),
            Panel(
                "Dead letters open",
                "Journeys that wait for somebody to replay or discard them.",
                "short",
                {"open": "max(registration_dead_letters_open)"},
                kind="stat",
                width=6,
                thresholds=NONE_IS_GOOD,
            ),
        ],
        "Customers": [
            Panel(
                "Registrations",
                "Webhook requests by how they ended, refusals included.",
                "reqps",
                per_second("registration_webhook_requests_total", "outcome"),
                stacked=True,
            ),
            Panel(
                "Time to the greeting",
                "From acceptance to a customer's first welcome, whoever wrote it. The promise is 3 s.",
                "s",
                quantiles("registration_greeting_latency_seconds"),
                thresholds=WITHIN_TARGET,
            ),
            Panel(
                "Error budget burn",
                "The share of late greetings over the service level's one per cent; 1 uses the budget up in exactly 30 days, 14.4 in two.",
                "short",
                {
                    "5 minutes": "anmei:greeting_error:ratio_rate5m / 0.01",
                    "1 hour": "anmei:greeting_error:ratio_rate1h / 0.01",
                    "6 hours": "anmei:greeting_error:ratio_rate6h / 0.01",
                },
            ),
        ],
        "Who acts": [
            Panel(
                "Open journeys",
                "Accepted and running ones are the engine's, failed ones are people's.",
                "short",
                {"{{status}}": "max by (status) (registration_journeys_open)"},
                stacked=True,
            ),
            Panel(
                "Alerts firing",
                "Every alert that fires now; the runbook says what to do.",
                "short",
                {"{{alertname}}": 'count by (alertname) (ALERTS{alertstate="firing"}) or vector(0)'},
            ),
            Panel(
                "Targets up",
                "Processes Prometheus reaches, by job.",
                "short",
                {"{{job}}": 'sum by (job) (up{job=~"anmei-.*"})'},
            ),
        ],
    },
)

JOURNEYS = Board(
    uid="anmei-journeys",
    title="Journey engine",
    description="Where journeys spend their time, what is retried, and what fails.",
    variables=(Variable("step", "Step", "registration_step_attempts_total"),),
    rows={
        "Journeys": [
            Panel(
                "Journeys by outcome",
                "Journeys that ended; failed counts a journey once, when its first dead letter opens.",
                "ops",
                per_second("registration_journeys_total", "outcome"),
                stacked=True,
            ),
            Panel(
                "Journeys begun",
                "Accepted registrations that began a journey.",
                "ops",
                {"begun": f"{ONE} (rate(registration_journeys_accepted_total{RATE}))"},
            ),
            Panel(
                "Oldest open journey",
                "Age of the oldest journey the engine still works on. Retries end after two minutes by default.",
                "s",
                {"oldest": "max(registration_oldest_open_journey_seconds)"},
                thresholds=((None, "green"), (120, "orange"), (300, "red")),
            ),
        ],
        "Latency": [
            Panel(
                "Time to the conversation",
                "From acceptance to the conversation.",
                "s",
                quantiles("registration_conversation_latency_seconds"),
            ),
            Panel(
                "Time to a welcome, by who wrote it",
                "A late agent's answer counts here beside the template that was in time.",
                "s",
                {
                    "{{source}} p95": f"histogram_quantile(0.95, {ONE} (rate(registration_welcome_latency_seconds_bucket{RATE})))"
                },
            ),
            Panel(
                "Wait in the queue",
                "From a step being ready to its first attempt: grows when workers are too few.",
                "s",
                {
                    "{{queue}} p95": f"histogram_quantile(0.95, {ONE} (rate(registration_queue_wait_seconds_bucket{RATE})))"
                },
            ),
        ],
        "Steps": [
            Panel(
                "Attempts by outcome",
                "Lost means that the worker died or hung and another took over.",
                "ops",
                {
                    "{{step}} {{outcome}}": f'{ONE} (rate(registration_step_attempts_total{{step=~"$step"}}{RATE}))',
                },
                stacked=True,
            ),
            Panel(
                "Duration of attempts",
                "How long attempts worked that succeeded or failed.",
                "s",
                {
                    "{{step}} p95": f'histogram_quantile(0.95, {ONE} (rate(registration_step_duration_seconds_bucket{{step=~"$step"}}{RATE})))'
                },
            ),
            Panel(
                "Attempts a journey needs",
                "Attempts per attempt that succeeded; above 1 something is retried.",
                "none",
                {
                    "{{step}}": f'sum by (step) ({ONE} (rate(registration_step_attempts_total{{step=~"$step"}}{RATE})))'
                    f' / (sum by (step) ({ONE} (rate(registration_step_attempts_total{{step=~"$step", outcome="succeeded"}}{RATE}))) > 0)'
                },
                decimals=2,
            ),
        ],
        "Failures": [
            Panel(
                "Share that fails",
                "Of the journeys that ended well or badly, over 15 minutes. The alert is at 1 %.",
                "percentunit",
                {"failed": "anmei:journeys_failed:ratio_rate15m"},
                thresholds=((None, "green"), (0.01, "red")),
            ),
            Panel(
                "Dead letters opened",
                "By step, over the last hour.",
                "short",
                {"{{step}}": f'{ONE} (increase(registration_dead_letters_total{{step=~"$step"}}[1h]))'},
                stacked=True,
            ),
            Panel(
                "Greetings overdue",
                "Open journeys whose time for a greeting has passed without one.",
                "short",
                {"overdue": "max(registration_greetings_overdue)"},
                thresholds=NONE_IS_GOOD,
            ),
        ],
    },
)

AGENTS = Board(
    uid="anmei-agents",
    title="Agents",
    description="Which agents answer, how fast, and how often the template has to step in.",
    variables=(Variable("agent", "Agent", "agent_calls_total"),),
    rows={
        "Now": [
            Panel(
                "Circuit",
                "0 closed, 1 half open, 2 open: an agent whose circuit is open is not asked.",
                "short",
                {"{{agent}}": 'max by (agent) (agent_circuit_state{agent=~"$agent"})'},
                kind="stat",
                thresholds=((None, "green"), (1, "orange"), (2, "red")),
            ),
            Panel(
                "Calls that fail",
                "Share over 10 minutes, by agent.",
                "percentunit",
                {"{{agent}}": 'anmei:agent_calls_failed:ratio_rate10m{agent=~"$agent"}'},
                kind="stat",
                thresholds=((None, "green"), (0.05, "orange"), (0.2, "red")),
            ),
            Panel(
                "Greeted by the template",
                "Share over 30 minutes of the customers who got the template.",
                "percentunit",
                {"template": "anmei:welcome_by_template:ratio_rate30m"},
                kind="stat",
                thresholds=((None, "green"), (0.2, "orange"), (0.5, "red")),
            ),
        ],
        "Calls": [
            Panel(
                "Calls by outcome",
                "Calls that ended, by agent and version.",
                "reqps",
                {
                    "{{agent}} v{{version}} {{outcome}}": f'{ONE} (rate(agent_calls_total{{agent=~"$agent"}}{RATE}))',
                },
                stacked=True,
                width=12,
            ),
            Panel(
                "Duration of calls",
                "By agent and version; what takes longer than the deadline comes after the template.",
                "s",
                {
                    "{{agent}} v{{version}} p95": f'histogram_quantile(0.95, {ONE} (rate(agent_call_duration_seconds_bucket{{agent=~"$agent"}}{RATE})))'
                },
                width=12,
            ),
        ],
        "Welcomes": [
            Panel(
                "Welcomes by who wrote them",
                "An agent's late answer follows the template, so both may count for one customer.",
                "ops",
                per_second("registration_welcome_latency_seconds_count", "source"),
                stacked=True,
                width=12,
            ),
            Panel(
                "Rating of welcomes",
                "Average of the customers' ratings over a day; the aim is 4.5.",
                "none",
                {
                    "rating": f"{ONE} (increase(welcome_feedback_rating_sum[1d])) / ({ONE} (increase(welcome_feedback_rating_count[1d])) > 0)"
                },
                width=12,
                thresholds=((None, "red"), (4, "orange"), (4.5, "green")),
                decimals=2,
            ),
        ],
    },
)

MCP = Board(
    uid="anmei-mcp",
    title="MCP",
    description="The tools agents call: how often, how fast, and what goes wrong.",
    variables=(
        Variable("tool", "Tool", "mcp_tool_calls_total"),
        Variable("group", "Group", "mcp_tool_calls_total"),
    ),
    rows={
        "Now": [
            Panel(
                "Server up",
                "Whether Prometheus reaches the MCP server.",
                "short",
                {"{{instance}}": 'up{job="anmei-mcp"}'},
                kind="stat",
                thresholds=SOME_IS_GOOD,
            ),
            Panel(
                "Calls that fail",
                "Errors and timeouts over 10 minutes; refusals for the caller's mistakes do not count.",
                "percentunit",
                {"failed": "anmei:mcp_calls_failed:ratio_rate10m"},
                kind="stat",
                thresholds=((None, "green"), (0.01, "orange"), (0.05, "red")),
            ),
            Panel(
                "Calls today",
                "Over the last 24 hours, refusals included.",
                "short",
                {"calls": f"sum({ONE} (increase(mcp_tool_calls_total[1d])))"},
                kind="stat",
            ),
        ],
        "Calls": [
            Panel(
                "Calls by tool",
                "All calls of a tool, whatever their outcome.",
                "reqps",
                per_second("mcp_tool_calls_total", "tool", 'tool=~"$tool", group=~"$group"'),
                stacked=True,
                width=12,
            ),
            Panel(
                "Calls by outcome",
                "What callers were answered.",
                "reqps",
                per_second("mcp_tool_calls_total", "outcome", 'tool=~"$tool", group=~"$group"'),
                stacked=True,
                width=12,
            ),
            Panel(
                "Calls by group",
                "Which keys are used.",
                "reqps",
                per_second("mcp_tool_calls_total", "group", 'tool=~"$tool", group=~"$group"'),
                stacked=True,
                width=12,
            ),
            Panel(
                "Duration of calls",
                "p95 by tool.",
                "s",
                {
                    "{{tool}} p95": f'histogram_quantile(0.95, {ONE} (rate(mcp_tool_call_duration_seconds_bucket{{tool=~"$tool"}}{RATE})))'
                },
                width=12,
            ),
        ],
    },
)

CONSULTANTS = Board(
    uid="anmei-consultants",
    title="Consultants",
    description="Whether people are told of new customers, and how soon they take over.",
    rows={
        "Now": [
            Panel(
                "Connected",
                "Consultants with at least one open socket; with none connected, notifications go out as pushes.",
                "short",
                {"connected": "max(consultants_connected)"},
                kind="stat",
                width=12,
                thresholds=((None, "orange"), (1, "green")),
            ),
            Panel(
                "Claimed within 10 minutes, 1 day",
                "Share of the claimed conversations that waited at most ten minutes.",
                "percentunit",
                {
                    "in time": f'sum({ONE} (increase(consultant_claim_seconds_bucket{{le="600.0"}}[1d])))'
                    f" / (sum({ONE} (increase(consultant_claim_seconds_count[1d]))) > 0)"
                },
                kind="stat",
                width=12,
                thresholds=((None, "red"), (0.9, "green")),
            ),
        ],
        "Work": [
            Panel(
                "Notifications",
                "By channel and what became of them.",
                "ops",
                {
                    "{{channel}} {{outcome}}": f"{ONE} (rate(consultant_notifications_total{RATE}))",
                },
                stacked=True,
                width=12,
            ),
            Panel(
                "Time to the claim",
                "From the consultants being told to the first claim.",
                "s",
                quantiles("consultant_claim_seconds"),
                width=12,
            ),
            Panel(
                "Claims",
                "First claims of conversations.",
                "ops",
                {"claims": f"{ONE} (rate(consultant_claim_seconds_count{RATE}))"},
                width=12,
            ),
            Panel(
                "Ratings given",
                "By rating, over a day.",
                "short",
                {"up to {{le}}": f"{ONE} (increase(welcome_feedback_rating_bucket[1d]))"},
                width=12,
            ),
        ],
    },
)

WORKERS = Board(
    uid="anmei-workers",
    title="Workers and queues",
    description="Whether queues are consumed, who consumes them, and what the processes cost.",
    variables=(Variable("queue", "Queue", "celery_queue_length"),),
    rows={
        "Queues": [
            Panel(
                "Messages waiting",
                "In the broker, by queue. Messages are hints: the record knows what is to be done.",
                "short",
                {"{{queue}}": 'max by (queue) (celery_queue_length{queue=~"$queue"})'},
                stacked=True,
            ),
            Panel(
                "Workers by queue",
                "Workers heard of within 15 s that consume a queue.",
                "short",
                {"{{queue}}": 'max by (queue) (celery_queue_consumers{queue=~"$queue"})'},
                thresholds=SOME_IS_GOOD,
            ),
            Panel(
                "Workers",
                "Worker processes heard of within 15 s.",
                "short",
                {"workers": "max(celery_workers)"},
                kind="stat",
                thresholds=SOME_IS_GOOD,
            ),
        ],
        "Processes": [
            Panel(
                "CPU",
                "By process that serves metrics.",
                "percentunit",
                {"{{job}} {{instance}}": f'rate(process_cpu_seconds_total{{job=~"anmei-.*"}}{RATE})'},
            ),
            Panel(
                "Memory",
                "Resident, by process that serves metrics.",
                "bytes",
                {"{{job}} {{instance}}": 'process_resident_memory_bytes{job=~"anmei-.*"}'},
            ),
            Panel(
                "Open files",
                "By process that serves metrics; sockets of customers and consultants are among them.",
                "short",
                {"{{job}} {{instance}}": 'process_open_fds{job=~"anmei-.*"}'},
            ),
        ],
        "Platform": [
            Panel(
                "Database size",
                "All tables and indexes.",
                "bytes",
                {"database": "max(anmei_database_bytes)"},
            ),
            Panel(
                "Disk free",
                "Where each process keeps its data directory.",
                "percentunit",
                {"{{instance}}": "min by (instance) (anmei_disk_free_bytes / anmei_disk_size_bytes)"},
                thresholds=((None, "red"), (0.1, "orange"), (0.2, "green")),
            ),
            Panel(
                "Cost of the metrics page",
                "How long its last collection took, by process.",
                "s",
                {"{{job}} {{instance}}": 'anmei_figures_collect_seconds{job=~"anmei-.*"}'},
            ),
        ],
    },
)

BOARDS = (OVERVIEW, JOURNEYS, AGENTS, MCP, CONSULTANTS, WORKERS)
