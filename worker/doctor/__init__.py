"""`anmei doctor`: looks at everything a stack needs and says, for each thing that is wrong, what to do."""

import logging
from collections.abc import Iterator

from pydantic import ValidationError

from core.logging import configure_logging
from core.settings import Settings, get_settings
from worker.doctor.findings import Finding, Verdict, ok, wrong

__all__ = ["Finding", "Verdict", "examine"]


def examine() -> Iterator[Finding]:
    """Yield what every check finds, beginning with whether the settings can be read at all."""
    try:
        settings = get_settings()
    except ValidationError as error:
        for problem in error.errors():
            variable = "ANMEI_" + "_".join(map(str, problem["loc"])).upper().removeprefix("ANMEI_")
            yield wrong("settings", f"{variable}: {problem['msg']}", f"mend or unset {variable}")
        return
    yield ok("settings", "readable")
    configure_logging("doctor")
    # The findings say it in their own words.
    logging.getLogger().setLevel(logging.CRITICAL)
    yield from _examine(settings)


def _examine(settings: Settings) -> Iterator[Finding]:
    """Yield the findings in the order in which one thing needs the other; what needs a broken thing is left out."""
    from worker.doctor.place import examine_place, examine_start

    yield from examine_place(settings)
    if not (settings.database_url and settings.broker_url) and not settings.running():
        yield from examine_start(settings)
        return
    from worker.doctor import servers, work

    database = list(servers.examine_database(settings))
    yield from database
    yield from servers.examine_redis(settings)
    broker = list(servers.examine_broker(settings))
    yield from broker
    has_schema = any(finding.check == "migrations" and finding.verdict is Verdict.OK for finding in database)
    if has_schema:
        if broker[0].verdict is Verdict.OK:
            yield from work.guarded("workers", work.examine_workers(settings))
        yield from work.guarded("backlog", work.examine_backlog())
        yield work.examine_secrets()
        yield from work.guarded("agents", work.examine_agents())
        yield work.examine_audit()
        yield from work.examine_doors(settings)
