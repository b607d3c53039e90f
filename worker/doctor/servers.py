"""The doctor's look at the servers: PostgreSQL and its schema, Redis, the broker."""

from collections.abc import Iterator
from datetime import datetime
from time import monotonic

import psycopg
import redis
from kombu.exceptions import KombuError

from core.clock import utc_now
from core.settings import MissingSettingError, Settings
from worker.doctor.findings import Finding, ok, wrong

LEAST_POSTGRES = 15
# Beyond this the webhook's five minutes and people's sessions are still far, but somebody's clock is not kept.
MOST_SKEW_SECONDS = 2.0
MOST_CONNECTIONS = 0.9


def examine_database(settings: Settings) -> Iterator[Finding]:
    url = settings.require_database_url().replace("postgresql+psycopg://", "postgresql://")
    try:
        with psycopg.connect(url, connect_timeout=3, autocommit=True) as connection:
            yield from _postgres(connection)
    except psycopg.Error as error:
        remedy = "start PostgreSQL or mend ANMEI_DATABASE_URL; a stack killed hard is mended by `anmei up`"
        yield wrong("database", str(error).strip().splitlines()[0], remedy)


def _postgres(connection: psycopg.Connection) -> Iterator[Finding]:
    version = connection.info.server_version // 10_000
    if version < LEAST_POSTGRES:
        yield wrong("database", f"PostgreSQL {version}", f"use PostgreSQL {LEAST_POSTGRES} or newer")
        return
    yield ok("database", f"PostgreSQL {version}")
    yield _connections(connection)
    yield _clock(connection)
    yield _migrations(connection)


def _connections(connection: psycopg.Connection) -> Finding:
    row = connection.execute(
        "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
        " current_setting('max_connections')::int"
    ).fetchone()
    used, most = row or (0, 1)
    detail = f"{used} of {most} connections are taken"
    if used > most * MOST_CONNECTIONS:
        return wrong(
            "connections", detail, "raise max_connections, or run fewer processes (docs/operations.md, Sizing)"
        )
    return ok("connections", detail)


def _clock(connection: psycopg.Connection) -> Finding:
    asked_at = monotonic()
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    # The answer was made half-way between the question and now.
    half_way = (monotonic() - asked_at) / 2
    there: datetime = row[0] if row else utc_now()
    return skew("clock", "this machine", (utc_now() - there).total_seconds() - half_way)


def skew(check: str, whose: str, ahead_seconds: float) -> Finding:
    """Return the finding for a clock that is so much ahead of the database's (or behind, if negative)."""
    if abs(ahead_seconds) <= MOST_SKEW_SECONDS:
        return ok(check, f"{whose} and the database are {abs(ahead_seconds):.1f} s apart")
    direction = "ahead of" if ahead_seconds > 0 else "behind"
    remedy = "keep both by NTP (chronyc tracking, timedatectl): signatures and sessions depend on the time"
    return wrong(check, f"{whose} is {abs(ahead_seconds):.1f} s {direction} the database", remedy)


def _migrations(connection: psycopg.Connection) -> Finding:
    import migrations

    exists = connection.execute("SELECT to_regclass('alembic_version')").fetchone()
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if exists and exists[0] else None
    current = row[0] if row else None
    problem = migrations.schema_problem(current)
    if problem is None:
        return ok("migrations", f"at {current}")
    return wrong("migrations", problem, "run `anmei migrate`")


def examine_redis(settings: Settings) -> Iterator[Finding]:
    try:
        url = settings.require_redis_url()
    except MissingSettingError as error:
        yield wrong("redis", "not configured", str(error))
        return
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=3) as client:
            policy = client.config_get("maxmemory-policy").get("maxmemory-policy")
    # The last two for a URL that says something it does not know.
    except (redis.RedisError, ValueError, TypeError) as error:
        yield wrong("redis", str(error), "start Redis or mend ANMEI_REDIS_URL / ANMEI_BROKER_URL")
        return
    if policy not in (None, "noeviction"):
        remedy = "set maxmemory-policy noeviction: a broker must refuse what does not fit, not forget what it holds"
        yield wrong("redis", f"may forget what it holds ({policy})", remedy)
    else:
        yield ok("redis", "answers")


def examine_broker(settings: Settings) -> Iterator[Finding]:
    from worker.app import app

    scheme = settings.require_broker_url().split("://")[0]
    remedy = "start the broker or mend ANMEI_BROKER_URL"
    try:
        with app.connection_for_write(connect_timeout=3) as connection:
            foreign = (OSError, KombuError, *connection.connection_errors)
            connection.ensure_connection(max_retries=1, timeout=4)
    except (TypeError, ValueError) as error:
        # kombu says so of a URL with an option it does not know.
        yield wrong("broker", f"the URL cannot be understood: {error}", remedy)
        return
    except foreign as error:
        yield wrong("broker", str(error), remedy)
        return
    yield ok("broker", scheme)
    yield _visibility(scheme)


def _visibility(scheme: str) -> Finding:
    """Tell whether a message under way could be delivered a second time while its task still runs."""
    from worker.app import TASK_TIME_LIMIT_SECONDS, app

    if scheme.startswith("amqp"):
        return ok("redelivery", "by acknowledgement")
    seconds = app.conf.broker_transport_options.get("visibility_timeout", 3600)
    if seconds > TASK_TIME_LIMIT_SECONDS:
        return ok("redelivery", f"not within {seconds} s, and no task takes longer than {TASK_TIME_LIMIT_SECONDS} s")
    remedy = f"set visibility_timeout above {TASK_TIME_LIMIT_SECONDS} s (worker/app.py): long tasks run twice otherwise"
    return wrong("redelivery", f"a message is delivered again after {seconds} s, while its task runs", remedy)
