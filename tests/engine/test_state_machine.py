"""The engine against its model: any order of deliveries, failures, lost leases, replays, over any sets of journeys."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from core.database import unit_of_work
from core.errors import ConflictError, PermanentError, TransientError
from core.ids import new_id
from models import DeadLetterStatus, StepName
from queries import effects
from queries import steps as step_queries
from queries.dead_letters import DeadLetterFilter
from queries.effects import Welcome
from services import dead_letters, journeys
from services.steps.conversation import create_conversation
from services.steps.failing import record_failures
from services.steps.notification import notify_consultants
from tests.engine.conftest import accept, execute, rows
from tests.engine.model import NOTIFY, WELCOME, Journey
from tests.support.factories import create_consultant, create_push_channel

JOURNEYS = 3
STATE = """
SELECT j.status, j.open_steps,
       (SELECT count(*) FROM conversations v WHERE v.journey_id = j.id),
       ARRAY(SELECT source FROM messages m WHERE m.journey_id = j.id ORDER BY m.created_at),
       (SELECT count(*) FROM notifications n WHERE n.journey_id = j.id),
       ARRAY(SELECT d.status FROM dead_letters d WHERE d.journey_id = j.id ORDER BY d.id),
       ARRAY(SELECT s.status || ' ' || s.attempts || ' ' || s.failures FROM journey_steps s
             WHERE s.journey_id = j.id ORDER BY s.position),
       (SELECT count(*) FROM step_attempts a WHERE a.journey_id = j.id),
       (SELECT count(*) FROM journey_steps s WHERE s.journey_id = j.id
          AND (s.sweep_at IS NULL) <> (s.due_at IS NULL)),
       j.finished_at IS NOT NULL
FROM journeys j WHERE j.id = :id
"""
some = st.sets(st.integers(0, JOURNEYS - 1), min_size=1)


class Engine(RuleBasedStateMachine):
    """Deeds on sets of journeys, each done to the database and to the models."""

    tokens = Bundle("tokens")

    @initialize()
    def begin(self) -> None:
        execute("TRUNCATE users, consultants, events, alerts CASCADE")
        create_push_channel(create_consultant(), "http://127.0.0.1:9/push")
        self.ids = accept(JOURNEYS)
        self.models = [Journey() for _ in self.ids]

    def chosen(self, places: set[int]) -> list[UUID]:
        return [self.ids[one] for one in sorted(places)]

    @rule(places=some)
    def deliver_create(self, places: set[int]) -> None:
        create_conversation(self.chosen(places))
        for one in places:
            self.models[one].open_conversation()

    @rule(target=tokens, places=some)
    def claim(self, places: set[int]) -> Any:
        token = new_id()
        with unit_of_work() as session:
            claims = step_queries.claim_steps(
                session,
                StepName.GENERATE_WELCOME,
                self.chosen(places),
                token=token,
                worker="w",
                lease_seconds=999,
                handle_seconds=9,
            )
        taken = {one for one in places if self.models[one].claim(token)}
        assert {one.journey_id for one in claims} == set(self.chosen(taken))
        return multiple(token) if taken else multiple()

    @rule(token=tokens, places=some)
    def answer(self, token: UUID, places: set[int]) -> None:
        with unit_of_work() as session:
            stored = effects.store_welcomes(
                session,
                [Welcome(one, token, "text", "agent", {}) for one in self.chosen(places)],
                step=WELCOME,
                next_step=NOTIFY,
                sweep_seconds=1,
            )
        finished = {one for one in places if self.models[one].answer(token)}
        assert set(stored) == set(self.chosen(finished))

    @rule(token=tokens, places=some, again=st.booleans())
    def fail(self, token: UUID, places: set[int], again: bool) -> None:
        counts = {one: self.models[one].steps[WELCOME].failures for one in places}
        error = TransientError("later") if again else PermanentError("never")
        outcome = record_failures(
            StepName.GENERATE_WELCOME,
            dict.fromkeys(self.chosen(places), error),
            token=token,
            let_go=StepName.NOTIFY_CONSULTANTS,
        )
        for one in places:
            # The default policy allows three retries.
            waits = again and counts[one] < 3
            held = self.models[one].holds(token)
            self.models[one].fail(token, again=waits)
            assert (self.ids[one] in outcome.waiting, self.ids[one] in outcome.failed) == (
                held and waits,
                held and not waits,
            )
            if not held:
                self.models[one].notification_let_go()

    @rule(token=tokens, places=some)
    def hand_back(self, token: UUID, places: set[int]) -> None:
        with unit_of_work() as session:
            step_queries.hand_back(session, StepName.GENERATE_WELCOME, dict.fromkeys(self.chosen(places), token))
        for one in places:
            self.models[one].hand_back(token)

    @rule(token=tokens, places=some)
    def renew(self, token: UUID, places: set[int]) -> None:
        with unit_of_work() as session:
            kept = step_queries.renew_leases(
                session, StepName.GENERATE_WELCOME, dict.fromkeys(self.chosen(places), token), lease_seconds=999
            )
        held = {one for one in places if self.models[one].holds(token)}
        assert kept == set(self.chosen(held))
        for one in held:
            self.models[one].steps[WELCOME].lease_over = False

    @rule(places=some)
    def leases_run_out(self, places: set[int]) -> None:
        execute(
            "UPDATE journey_steps SET lease_until = now() WHERE journey_id = ANY(:ids) AND status = 'running'",
            ids=self.chosen(places),
        )
        for one in places:
            self.models[one].expire()

    @rule(places=some)
    def retries_are_due(self, places: set[int]) -> None:
        execute(
            "UPDATE journey_steps SET due_at = now() WHERE journey_id = ANY(:ids) AND status = 'waiting'",
            ids=self.chosen(places),
        )
        for one in places:
            self.models[one].retry_is_due()

    @rule(places=some)
    def greet(self, places: set[int]) -> None:
        with unit_of_work() as session:
            effects.post_templates(
                session, dict.fromkeys(self.chosen(places), "template"), next_step=NOTIFY, sweep_seconds=1
            )
        for one in places:
            self.models[one].greet()

    @rule(places=some)
    def deliver_notify(self, places: set[int]) -> None:
        notify_consultants(self.chosen(places), on_told=lambda _: None)
        for one in places:
            self.models[one].notify()

    @rule()
    def sweep(self) -> None:
        execute("UPDATE journey_steps SET sweep_at = now() WHERE sweep_at IS NOT NULL")
        with unit_of_work() as session:
            due = step_queries.sweep_steps(session, most=100, first=1, longest=30, lease_seconds=9)
        expected = {
            (self.ids[place], name)
            for place, model in enumerate(self.models)
            for name, step in model.steps.items()
            if step.due or step.status in ("waiting", "running")
        }
        assert {(one.journey_id, one.name) for one in due} == expected

    @rule(place=st.integers(0, JOURNEYS - 1))
    def replay(self, place: int) -> None:
        for letter in dead_letters.listed(DeadLetterFilter(journey_id=self.ids[place], status=DeadLetterStatus.OPEN)):
            dead_letters.replay(letter.id, actor="op")
        self.models[place].replay()

    @rule(place=st.integers(0, JOURNEYS - 1))
    def cancel(self, place: int) -> None:
        possible = self.models[place].cancel()
        if possible:
            journeys.cancel(self.ids[place], actor="op")
        else:
            with pytest.raises(ConflictError):
                journeys.cancel(self.ids[place], actor="op")

    @invariant()
    def the_database_is_as_the_model_says(self) -> None:
        for journey_id, model in zip(getattr(self, "ids", []), getattr(self, "models", []), strict=True):
            steps = [f"{one.status} {one.attempts} {one.failures}" for one in model.steps.values()]
            attempts = sum(one.attempts for one in model.steps.values())
            finished = model.status in ("succeeded", "cancelled")
            assert rows(STATE, id=journey_id) == [
                (
                    model.status,
                    model.open_steps,
                    model.conversations,
                    model.messages,
                    model.notified,
                    model.dead_letters,
                    steps,
                    attempts,
                    0,
                    finished,
                )
            ]


def test_any_order_of_deeds_leaves_what_the_model_says(database: str) -> None:
    run_state_machine_as_test(
        Engine,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
