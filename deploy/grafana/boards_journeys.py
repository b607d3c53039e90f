"""The dashboards about journeys: the promise to customers, and the engine that keeps it."""

from panels import GOOD_SHARE, NONE_IS_GOOD, ONE, RATE, WITHIN_TARGET, Board, Panel, Variable, per_second, quantiles

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
                "Age of the oldest journey the engine still works on. By default retries end within six minutes.",
                "s",
                {"oldest": "max(registration_oldest_open_journey_seconds)"},
                thresholds=((None, "green"), (300, "orange"), (600, "red")),
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
