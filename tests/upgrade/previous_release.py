"""Run with the previous release's code first on the path: its journeys on today's schema, from the door to the end.

Prints one JSON object of what it found; uses only what that release had.
"""

import json
import sys
from pathlib import Path

from sqlalchemy import text

import services
from core.database import unit_of_work
from services import automation, intake
from services.intake import Registration, Submission
from services.steps.conversation import create_conversation
from services.steps.failing import record_failures
from services.steps.notification import notify_consultants
from services.steps.welcome import generate_welcome


def main() -> None:
    automation.change({"welcome_strategy": "template_only"}, actor="previous release")
    accepted = intake.accept(
        [Submission(Registration.model_validate({"user_id": f"old{n}", "username": "n"}), f"w{n}") for n in range(5)]
    )
    journeys = [one.journey_id for one in accepted]
    create_conversation(journeys[:4])
    record_failures("create_conversation", {journeys[4]: ValueError("x")})  # type: ignore[arg-type, dict-item]
    generate_welcome(journeys, on_ready=lambda _: None)
    notify_consultants(journeys, on_told=lambda _: None)
    with unit_of_work() as session:
        statuses = dict(session.execute(text("SELECT status, count(*) FROM journeys GROUP BY status")).all())
        messages = session.scalar(text("SELECT count(*) FROM messages"))
        letters = session.scalar(text("SELECT count(*) FROM dead_letters"))
    code_at = str(Path(services.__file__).parents[1])
    json.dump({"code_at": code_at, "statuses": statuses, "messages": messages, "dead_letters": letters}, sys.stdout)


if __name__ == "__main__":
    main()
