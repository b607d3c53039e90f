"""The doctor's look at the work: who consumes the queues, what waits, agents, secrets, and whether the audit is whole."""

import socket
import time
from collections.abc import Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime

from sqlalchemy.exc import SQLAlchemyError

from core.crypto import UndecryptableError, decrypt
from core.database import unit_of_work
from core.errors import AnmeiError
from core.settings import Settings
from queries.figures_now import Heartbeat
from services.journey_plan import Queue
from worker.doctor.findings import Finding, note, ok, wrong
from worker.doctor.servers import MOST_SKEW_SECONDS, skew

WORKER_ANSWER_SECONDS = 1.5
# A queue whose workers take nothing for so long while messages wait is looked at as not consumed.
CONSUME_SECONDS = 3.0
# As the alert OldestJourneyTooOld.
OLDEST_JOURNEY_SECONDS = 600.0
OVERDUE_GRACE_SECONDS = 2.0
# So many answered agent calls without one call of our tools are no accident.
TELLING_CALLS = 5


def examine_workers(settings: Settings) -> Iterator[Finding]:
    """Tell of each queue whether workers are alive, listen to the broker, and take what waits."""
    from clients import broker
    from services import heartbeats
    from worker.app import app

    alive = heartbeats.list_alive()
    answers = (app.control.inspect(timeout=WORKER_ANSWER_SECONDS).active_queues() or {}) if alive else {}
    served = [queue["name"] for queues in answers.values() for queue in queues]
    waiting = broker.queue_lengths(settings.require_broker_url(), list(Queue))
    if any(waiting.values()):
        waiting = _left_after(settings, waiting)
    for queue in Queue:
        yield _worker(queue.value, alive, served.count(queue.value), waiting[queue])
    for worker in alive:
        if worker.clock_ahead_seconds is not None and abs(worker.clock_ahead_seconds) > MOST_SKEW_SECONDS:
            yield skew(f"clock {worker.id}", f"worker {worker.id}", worker.clock_ahead_seconds)


def _left_after(settings: Settings, before: dict[str, int]) -> dict[str, int]:
    """Return how many messages of those that wait in a queue nobody took within CONSUME_SECONDS; none where some went."""
    from clients import broker

    until = time.monotonic() + CONSUME_SECONDS
    stuck = dict(before)
    while any(stuck.values()) and time.monotonic() < until:
        time.sleep(0.2)
        now = broker.queue_lengths(settings.require_broker_url(), list(Queue))
        stuck = {queue: 0 if now[queue] < before[queue] else stuck[queue] for queue in stuck}
    return stuck


def _worker(queue: str, alive: list[Heartbeat], listening: int, stuck: int) -> Finding:
    check = f"worker {queue}"
    mine = [worker for worker in alive if queue in worker.queues]
    if not mine:
        return wrong(check, "no worker for this queue has been heard of", f"start one: `anmei worker --queues {queue}`")
    if not listening:
        detail = f"{len(mine)} alive, but none consumes this queue (asked through the broker)"
        return wrong(check, detail, f"restart {_names(mine)}; its ANMEI_BROKER_URL must be the one used here")
    if stuck:
        detail = f"{stuck} messages wait and none was taken in {CONSUME_SECONDS:g} s"
        return wrong(
            check, detail, f"all threads busy: more workers or a larger --concurrency; else restart {_names(mine)}"
        )
    return ok(check, f"{listening} consume" + ("s" if listening == 1 else ""))


def _names(workers: list[Heartbeat]) -> str:
    return ", ".join(f"pid {worker.pid} on {worker.host}" for worker in workers)


def examine_backlog() -> Iterator[Finding]:
    """Tell of journeys that do not move, greetings that are late, and dead letters."""
    from queries import figures_now
    from queries.figures import GREETING_TARGET_SECONDS

    with unit_of_work() as session:
        now = figures_now.get_now(session, target_seconds=GREETING_TARGET_SECONDS, grace_seconds=OVERDUE_GRACE_SECONDS)
    oldest = now.oldest_open_journey_seconds
    if oldest > OLDEST_JOURNEY_SECONDS:
        remedy = "docs/runbook.md, OldestJourneyTooOld; `anmei journeys list --status running`"
        yield wrong("queue age", f"the oldest journey under way is {oldest / 60:.0f} minutes old", remedy)
    else:
        yield ok("queue age", f"the oldest journey under way is {oldest:.0f} s old")
    if now.ungreeted_overdue:
        remedy = "is `anmei beat` running, and a worker for the queue journeys? docs/runbook.md, GreetingsOverdue"
        yield wrong("greetings", f"{now.ungreeted_overdue} are overdue", remedy)
    if now.dead_letters_open:
        remedy = "`anmei dead-letters list`, then replay or discard them"
        yield note("dead letters", f"{now.dead_letters_open} wait for a decision", remedy)


def examine_secrets() -> Finding:
    from models import Base
    from queries.seed import list_encrypted
    from services.secret_rotation import encrypted_columns

    count = 0
    with unit_of_work() as session:
        for table, column in encrypted_columns(Base.metadata):
            for _, token in list_encrypted(session, table, column):
                try:
                    decrypt(token)
                except UndecryptableError:
                    detail = f"{table.name}.{column.name} holds one under another key"
                    remedy = "set ANMEI_SECRET_KEY to the key it was stored under (`new,old` while rotating)"
                    return wrong("secrets", detail, remedy)
                count += 1
    return ok("secrets", f"{count} can be decrypted")


def examine_audit() -> Finding:
    from services import audit

    broken = audit.first_broken()
    if broken is None:
        return ok("audit", "the chain is whole")
    detail = f"entry {broken} was changed, or one before it removed"
    remedy = "compare with a backup; find out who could write to the database (docs/runbook.md)"
    return wrong("audit", detail, remedy)


def examine_agents() -> Iterator[Finding]:
    """Ask each agent who it is, and see whether agents reach our tools."""
    from clients import agents as agent_client
    from services import agents

    try:
        known = agents.known()
    except UndecryptableError:
        # Told by the check of the secrets.
        return
    if not known:
        remedy = "add one in the web UI or with POST /api/v1/agents; until then everybody gets the template"
        yield note("agents", "none is enabled", remedy)
    for agent in known:
        name = f"agent {agent.name}"
        try:
            info = agent_client.info(agent.target).result(timeout=10)
        except (AnmeiError, TimeoutError) as error:
            remedy = "check its address and key; meanwhile the template is sent"
            yield wrong(name, str(error) or type(error).__name__, remedy)
        else:
            yield ok(name, f"{info.name} answers")
    yield from _tools()


def _tools() -> Iterator[Finding]:
    from queries import health

    with unit_of_work() as session:
        answered, used = health.count_agent_and_tool_calls(session)
    if answered >= TELLING_CALLS and not used:
        remedy = "`anmei mcp client-config customer_tools --for dify` says what to enter at the agent; welcomes lack the profile"
        yield note("tools", f"agents answered {answered} times within a day and never called our tools", remedy)


def examine_doors(settings: Settings) -> Iterator[Finding]:
    """Ask the HTTP roles of the stack that runs here; their answers' dates tell their clocks."""
    import httpx

    running = settings.running()
    if not running:
        return
    for name, url in (
        ("api", f"{running['api_url']}/readyz"),
        ("mcp", running["mcp_url"].removesuffix("/mcp") + "/healthz"),
        ("flower", f"{running['flower_url']}/healthcheck"),
    ):
        try:
            answer = httpx.get(url, timeout=5, trust_env=False)
        except httpx.HTTPError as error:
            yield wrong(name, f"{url}: {type(error).__name__}", "see the launcher's output; restart it")
            continue
        if answer.is_success:
            yield ok(name, f"{url}: {answer.status_code}")
        else:
            yield wrong(name, f"{url}: {answer.status_code}", answer.text[:200])
        yield from _door_clock(name, answer.headers.get("date"))


def _door_clock(name: str, date: str | None) -> Iterator[Finding]:
    from queries import health

    if date is None:
        return
    with unit_of_work() as session:
        there = health.get_database_time(session)
    # A date tells whole seconds.
    ahead = (parsedate_to_datetime(date).replace(tzinfo=UTC) - there).total_seconds() + 0.5
    if abs(ahead) > MOST_SKEW_SECONDS + 1:
        yield skew(f"clock {name}", f"{name} on {socket.gethostname()}", ahead)


def guarded(check: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Yield the findings; what breaks the check itself becomes one, so that the others are still made."""
    try:
        yield from findings
    except (AnmeiError, SQLAlchemyError, OSError) as error:
        text = str(error).strip().splitlines()
        yield wrong(
            check, f"could not be checked: {text[0] if text else type(error).__name__}", "mend what is above first"
        )
