"""Erasing one person: nothing in any table says who it was, the figures stay, and nothing breaks."""

import pytest
from pydantic import SecretStr
from sqlalchemy import Text, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from core.database import unit_of_work
from core.errors import ConflictError, NotFoundError
from models import AuditEntry, Base, DeadLetter, Journey, Message, Notification, User
from queries.holdings import HOLDINGS
from services import audit, dead_letters, intake, journeys, persons, users
from services.intake import IntakeStatus, Registration, Submission
from services.permissions import Role
from tests.personal.seeding import NAMES, OTHERS, VALUES, Seeded, found, tables
from tests.support.factories import create_user

# Columns of text that say nothing of a customer: names of ours, codes, and what staff and machines are called.
IMPERSONAL = {
    "agents": {"name", "provider", "base_url", "app_id", "mode"},
    "agent_calls": {"status", "usage", "error_code"},
    "agent_circuits": {"state"},
    "agent_feedback": {"verdict", "status", "error_code"},
    "agent_versions": {"label", "status", "app_id", "mode", "instruction", "status_reason", "created_by"},
    "alert_channels": {"name", "last_error"},
    "alerts": {"key", "severity", "title", "status", "error_code"},
    "appointments": {"status", "created_by"},
    # Append-only: nothing personal is written into it (see test_audit below).
    "audit_log": {"actor", "action", "subject", "before", "after", "origin", "details"},
    "consultants": {"display_name", "languages", "skills", "working_hours"},
    "dead_letters": {"step", "status", "error_code", "closed_by"},
    "escalation_pushes": {"status", "error_code"},
    "escalations": {"action", "status", "result"},
    "figure_pending": {"source"},
    "figure_sources": {"source"},
    "figure_totals": {"figure", "labels"},
    "journey_steps": {"name", "status", "error_code"},
    # The reason is replaced as an erasure ends the journey.
    "journeys": {"kind", "status", "reason", "greeted_by"},
    "mcp_call_logs": {"tool_name", "group_name", "caller_app_id", "transport", "protocol_version", "outcome", "error_code"},
    "mcp_call_totals": {"tool_name", "group_name", "outcome", "buckets"},
    "mcp_tool_groups": {"name", "description", "user_tier_access", "allowed_roles", "created_by"},
    "mcp_tools": {"tool_name", "handler", "version", "description", "input_schema", "config_data"},
    "messages": {"sender_type", "source"},
    "notifications": {"channel", "status", "error_code"},
    "push_channels": {"kind", "name", "disabled_reason", "last_error"},
    "push_keys": {"public_key"},
    "retention_marks": {"kind"},
    "settings_processes": {"role", "host", "versions", "refused"},
    "settings_versions": {"name", "data", "reason", "created_by"},
    "step_attempts": {"step", "outcome", "worker", "error_code"},
    "treatment_plans": {"created_by"},
    "treatment_projects": {"code", "name", "category", "description", "interests", "contraindications"},
    "treatment_records": {"doctor"},
    "users": {"password_hash"},
    "webhook_outcomes": {"outcome"},
    "webhook_secrets": {"created_by"},
    "worker_heartbeats": {"id", "role", "host", "queues"},
}  # fmt: skip


def test_every_column_of_text_is_known_to_be_personal_or_not() -> None:
    deleted = {one.table for one in HOLDINGS if not one.erased and not one.ends}
    erased = {one.table: set(one.erased) for one in HOLDINGS}
    for table in Base.metadata.sorted_tables:
        if table.name in deleted:
            continue
        columns = {one.name for one in table.columns if isinstance(one.type, Text | JSONB | ARRAY)}
        known = erased.get(table.name, set()) | IMPERSONAL.get(table.name, set())
        assert columns <= known, f"{table.name}: is {columns - known} about a person? queries/holdings.py must know"


def test_nothing_of_the_person_is_left_in_any_column_of_any_table(seeded: Seeded) -> None:
    seeded.mark_everything()
    holding = {one.table for one in HOLDINGS} - {"escalations"}
    assert set(found(NAMES)) == holding - {"auth_sessions"}
    others = found(OTHERS)
    erased = persons.erase(seeded.user.id, actor="admin", reason=f"asked for by {VALUES['username']}")
    assert found(NAMES) == {}
    assert found(OTHERS) == others
    assert set(erased.rows) >= holding
    # Rows that are somebody's stay; those that are nothing but the person's are gone.
    for table in ("journeys", "messages", "feedback", "treatment_records", "agent_calls"):
        assert count(table) == 2 * erased.rows[table], table
    for table in ("webhook_receipts", "oidc_identities", "login_failures", "auth_sessions"):
        assert count(table) == 1, table


def test_erasing_twice_changes_nothing_more(seeded: Seeded) -> None:
    persons.erase(seeded.user.id, actor="admin", reason="asked")
    before = content()
    persons.erase(seeded.user.id, actor="admin", reason="asked")
    assert persons.erase_late_writes() > 0
    after = content()
    # But for the entry that says so.
    assert {name for name in before if before[name] != after[name]} <= {"audit_log", "audit_head", "users"}
    assert audit.first_broken() is None


def test_figures_stay_as_they_were(seeded: Seeded) -> None:
    figures = (
        "SELECT (SELECT count(*) FROM journeys), (SELECT count(*) FROM messages), (SELECT sum(rating) FROM feedback),"
        " (SELECT count(*) FROM step_attempts WHERE outcome = 'failed'), (SELECT sum(paid_yuan) FROM treatment_records),"
        " (SELECT count(*) FROM agent_calls WHERE refusal LIKE 'contact%'), (SELECT sum(waited_ms) FROM claims),"
        " (SELECT count(*) FROM users)"
    )
    before = one(figures)
    persons.erase(seeded.user.id, actor="admin", reason="asked")
    assert one(figures) == before
    assert before[2:5] == (10, 2, 198)


def test_a_journey_in_flight_ends_and_nothing_is_left_to_do_for_it(seeded: Seeded) -> None:
    persons.erase(seeded.user.id, actor="admin", reason="asked")
    with unit_of_work() as session:
        journey = session.get_one(Journey, seeded.journey.id)
        assert (journey.status, journey.reason, journey.handle, journey.open_steps) == ("cancelled", "erased", None, 0)
        mine = (Notification.journey_id == journey.id, DeadLetter.journey_id == journey.id)
        sent = session.scalars(select(Notification).where(mine[0])).one()
        assert (sent.status, sent.error_code, sent.due_at, sent.sweep_at, sent.payload) == (
            "failed",
            "ERASED",
            None,
            None,
            {},
        )
        letter = session.scalars(select(DeadLetter).where(mine[1])).one()
        assert (letter.status, letter.payload) == ("discarded", {})
        due = (
            "SELECT count(*) FROM journey_steps WHERE journey_id = :id AND (sweep_at IS NOT NULL OR due_at IS NOT NULL)"
        )
        assert session.scalar(text(due), {"id": journey.id}) == 0
    with pytest.raises(ConflictError):
        dead_letters.replay(letter.id, actor="op")
    with pytest.raises(ConflictError):
        journeys.replay(journey.id, actor="op")


def accept(user_id: str, webhook_id: str | None) -> intake.Acceptance:
    registration = Registration.model_validate(
        {"user_id": user_id, "username": VALUES["username"], "phone": VALUES["phone"]}
    )
    return intake.accept([Submission(registration, webhook_id)])[0]


@pytest.mark.parametrize("webhook_id", ["wh-zhenmei-7731", "wh-another", None])
def test_the_registration_sent_again_is_a_duplicate_and_brings_nobody_back(
    seeded: Seeded, webhook_id: str | None
) -> None:
    persons.erase(seeded.user.id, actor="admin", reason="asked")
    for _ in range(2):
        again = accept(VALUES["external_id"], webhook_id)
        assert (again.status, again.journey_id) == (IntakeStatus.DUPLICATE, seeded.journey.id)
    assert found(NAMES) == {}
    assert accept("wx-zhenmei-7732", "wh-new").status is IntakeStatus.ACCEPTED


def test_somebody_imported_without_a_journey_may_register_after_they_were_erased(database: str) -> None:
    user = create_user(external_id="imported-1")
    persons.erase(user.id, actor="admin", reason="asked")
    assert accept("imported-1", "wh-1").status is IntakeStatus.ACCEPTED


def test_what_was_written_late_is_erased_too(seeded: Seeded) -> None:
    persons.erase(seeded.user.id, actor="admin", reason="asked")
    with unit_of_work() as session:
        session.execute(
            text("UPDATE agent_calls SET refused_answer = :text WHERE journey_id = :id"),
            {"text": VALUES["phone"], "id": seeded.journey.id},
        )
        session.add(Message(conversation_id=conversation_of(seeded), sender_type="ai", content={"text": "甄美丽"}))
    assert set(found(NAMES)) == {"agent_calls", "messages"}
    assert persons.erase_late_writes() > 0
    assert found(NAMES) == {}


def test_who_registers_while_being_erased_is_erased_again(seeded: Seeded) -> None:
    persons.erase(seeded.user.id, actor="admin", reason="asked")
    back = create_user(**VALUES)
    assert "users" in found(NAMES)
    assert persons.erase_late_writes() > 0
    assert found(NAMES) == {}
    with unit_of_work() as session:
        assert session.get_one(User, back.id).erased_at is not None
    # Everybody else who registered meanwhile stays.
    assert "users" in found(OTHERS)
    assert accept(VALUES["external_id"], "wh-again").journey_id == seeded.journey.id


def conversation_of(seeded: Seeded) -> object:
    return one(f"SELECT id FROM conversations WHERE journey_id = '{seeded.journey.id}'")[0]


def test_staff_is_not_erased(database: str) -> None:
    staff = users.create_staff_user("lin", SecretStr("a long enough password"), [Role.OPERATOR], actor="test")
    with pytest.raises(ConflictError):
        persons.erase(staff.id, actor="admin", reason="asked")
    with pytest.raises(NotFoundError):
        persons.erase(create_user().id.__class__(int=1), actor="admin", reason="asked")
    with unit_of_work() as session:
        assert session.get_one(User, staff.id).username == "lin"


def test_the_audit_log_says_who_erased_whom_and_stays_whole(seeded: Seeded) -> None:
    persons.export(seeded.user.id, actor="admin")
    persons.erase(seeded.user.id, actor="admin", reason="asked", origin="10.1.1.1")
    with unit_of_work() as session:
        entries = session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()
        assert [(entry.actor, entry.action, entry.subject) for entry in entries] == [
            ("admin", "user.export", f"user:{seeded.user.id}"),
            ("admin", "user.erase", f"user:{seeded.user.id}"),
        ]
        assert entries[1].after is not None
        assert entries[1].after["reason"] == "asked"
    assert audit.first_broken() is None


def test_an_export_holds_what_there_is_and_nobody_elses(seeded: Seeded) -> None:
    exported = persons.export(seeded.user.id, actor="admin").tables
    assert set(exported) == {one.table for one in HOLDINGS if one.exported}
    assert exported["users"][0]["email"] == VALUES["email"]
    assert [row["content"]["text"] for row in exported["messages"]] == ["甄美丽，您好", "我是甄美丽 +8613977310042"]
    assert exported["feedback"][0]["rating"] == 5
    flat = str(exported)
    assert "旁人" not in flat
    assert str(seeded.consultant.id) not in flat
    for hidden in ("password_hash", "cookie_hash", "lease_token", "'handle'"):
        assert hidden not in flat


def one(statement: str) -> tuple[object, ...]:
    with unit_of_work() as session:
        return tuple(session.execute(text(statement)).one())


def count(table: str) -> int:
    return int(str(one(f"SELECT count(*) FROM {table}")[0]))


def content() -> dict[str, object]:
    return {table: one(f"SELECT string_agg(t::text, chr(10) ORDER BY t::text) FROM {table} t")[0] for table in tables()}
