"""The dashboards about what journeys need: agents, MCP, consultants, workers and queues."""

from panels import ONE, RATE, SOME_IS_GOOD, Board, Panel, Variable, per_second, quantiles

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
        "Settings and retention": [
            Panel(
                "Processes by what they run",
                "Behind, refused or silent: a change of the settings does not hold there.",
                "short",
                {"{{settings}} {{state}}": "max by (settings, state) (anmei_settings_processes)"},
            ),
            Panel(
                "Rows pruned",
                "By kind of data, over a day.",
                "short",
                {"{{kind}}": f"sum by (kind) ({ONE} (increase(anmei_retention_rows_total[1d])))"},
            ),
            Panel(
                "Since the retention was done",
                "Since a run last left nothing older than the settings say; it runs every hour.",
                "s",
                {"{{kind}}": "time() - max by (kind) (anmei_retention_success_timestamp_seconds)"},
                thresholds=((None, "green"), (86_400, "orange"), (172_800, "red")),
            ),
        ],
    },
)
