"""Events for sockets, claims, read marks, feedback, and consultants who are away."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Numbers the events committed so far; see docs/decisions/0006-events.md. Volatile, so each statement in it sees what was
# committed before it began: what is read after the lock holds everything that the lock's last holder numbered.
NUMBER_EVENTS = """
CREATE FUNCTION anmei_number_events(most integer) RETURNS integer LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    numbered integer;
BEGIN
    IF NOT EXISTS (SELECT FROM events WHERE seq IS NULL) THEN
        RETURN 0;
    END IF;
    PERFORM pg_advisory_xact_lock(7300006);
    UPDATE events e SET seq = n.seq
    FROM (SELECT id, nextval('event_seq') AS seq
          FROM (SELECT id FROM events WHERE seq IS NULL ORDER BY id LIMIT most) o) n
    WHERE e.id = n.id;
    GET DIAGNOSTICS numbered = ROW_COUNT;
    RETURN numbered;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("recipients", postgresql.ARRAY(sa.Uuid()), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("dedup_key", sa.Text(), nullable=True),
        sa.Column("journey_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("seq", name=op.f("uq_events_seq")),
        sa.UniqueConstraint("dedup_key", name=op.f("uq_events_dedup_key")),
    )
    op.create_index("ix_events_unnumbered", "events", ["id"], postgresql_where=sa.text("seq IS NULL"))
    op.create_index("ix_events_audience_seq", "events", ["audience", "seq"])
    op.create_index("ix_events_created_at", "events", ["created_at"])
    op.execute("CREATE SEQUENCE event_seq")
    op.execute(NUMBER_EVENTS)
    op.create_table(
        "claims",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("consultant_id", sa.Uuid(), nullable=False),
        sa.Column("waited_ms", sa.Integer(), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversations.id"], name=op.f("fk_claims_conversation_id")),
        sa.ForeignKeyConstraint(["consultant_id"], ["consultants.id"], name=op.f("fk_claims_consultant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_claims")),
    )
    op.create_index(
        "uq_claims_open", "claims", ["conversation_id"], unique=True, postgresql_where=sa.text("released_at IS NULL")
    )
    op.create_index("ix_claims_conversation_id_claimed_at", "claims", ["conversation_id", "claimed_at"])
    op.create_index("ix_claims_consultant_id_claimed_at", "claims", ["consultant_id", "claimed_at"])
    op.create_index("ix_claims_claimed_at", "claims", ["claimed_at"])
    op.create_table(
        "read_marks",
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("read_until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversations.id"], name=op.f("fk_read_marks_conversation_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_read_marks_user_id")),
        sa.PrimaryKeyConstraint("conversation_id", "user_id", name=op.f("pk_read_marks")),
    )
    op.create_table(
        "feedback",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("rating", sa.SmallInteger(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("rating BETWEEN 1 AND 5", name=op.f("ck_feedback_rating_in_range")),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name=op.f("fk_feedback_message_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_feedback_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback")),
    )
    op.create_index("uq_feedback_message_id_user_id", "feedback", ["message_id", "user_id"], unique=True)
    op.create_index("ix_feedback_created_at", "feedback", ["created_at"])
    op.add_column("consultants", sa.Column("away_since", sa.DateTime(timezone=True), nullable=True))
    # What waits for somebody to claim it, oldest first.
    op.create_index(
        "ix_conversations_unclaimed", "conversations", ["created_at"], postgresql_where=sa.text("claimed_by_id IS NULL")
    )
    op.create_index("ix_conversations_claimed_by_id", "conversations", ["claimed_by_id"])


def downgrade() -> None:
    op.drop_index("ix_conversations_claimed_by_id", table_name="conversations")
    op.drop_index("ix_conversations_unclaimed", table_name="conversations")
    op.drop_column("consultants", "away_since")
    for table in ("feedback", "read_marks", "claims", "events"):
        op.drop_table(table)
    op.execute("DROP FUNCTION anmei_number_events(integer)")
    op.execute("DROP SEQUENCE event_seq")
