"""Escalation ladder, receipts that are waited for, push channels of several kinds, and consultants' hours and skills."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# What every process knows of consultants without asking: presence is not among it, as it changes all the time.
SCHEDULE_COLUMNS = "enabled, working_hours, is_supervisor"
JSONB = postgresql.JSONB(astext_type=sa.Text())


def _at(name: str, *, required: bool = False, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=not required)


def upgrade() -> None:
    _consultants()
    _channels()
    op.add_column("notifications", _at("receipt_due_at"))
    op.create_index(
        "ix_notifications_receipt_due_at",
        "notifications",
        ["receipt_due_at"],
        postgresql_where=sa.text("receipt_due_at IS NOT NULL"),
    )
    _escalations()
    _pushes()


def _consultants() -> None:
    empty = sa.text("'[]'::jsonb")
    op.add_column("consultants", sa.Column("languages", JSONB, server_default=empty, nullable=False))
    op.add_column("consultants", sa.Column("skills", JSONB, server_default=empty, nullable=False))
    op.add_column("consultants", sa.Column("working_hours", JSONB, nullable=True))
    no = sa.text("false")
    op.add_column("consultants", sa.Column("is_supervisor", sa.Boolean(), server_default=no, nullable=False))
    op.execute(
        f"CREATE TRIGGER consultants_announce AFTER INSERT OR UPDATE OF {SCHEDULE_COLUMNS} OR DELETE ON consultants "
        "FOR EACH STATEMENT EXECUTE FUNCTION anmei_announce('consultants')"
    )


def _channels() -> None:
    op.add_column("push_channels", sa.Column("name", sa.Text(), nullable=True))
    op.add_column("push_channels", sa.Column("disabled_reason", sa.Text(), nullable=True))
    op.add_column("push_channels", _at("last_error_at"))
    op.create_check_constraint(
        op.f("ck_push_channels_kind_known"), "push_channels", "kind IN ('http', 'webpush', 'apprise')"
    )
    op.create_table(
        "push_keys",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("private_key_encrypted", sa.LargeBinary(), nullable=False),
        _at("created_at", required=True, now=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_push_keys")),
    )


def _escalations() -> None:
    op.create_table(
        "escalations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("journey_id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("round", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("rung", sa.SmallInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        _at("waiting_since", required=True),
        _at("due_at", required=True),
        _at("sweep_at"),
        sa.Column("paused", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        _at("ended_at"),
        sa.Column("result", JSONB, server_default=sa.text("'{}'::jsonb"), nullable=False),
        _at("created_at", required=True, now=True),
        sa.CheckConstraint(
            "action IN ('remind', 'widen', 'supervisor', 'reassign')", name=op.f("ck_escalations_action_known")
        ),
        sa.CheckConstraint("status IN ('pending', 'done', 'stopped')", name=op.f("ck_escalations_status_known")),
        sa.ForeignKeyConstraint(
            ["journey_id"], ["journeys.id"], name=op.f("fk_escalations_journey_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversations.id"], name=op.f("fk_escalations_conversation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_escalations")),
        sa.UniqueConstraint("conversation_id", "round", "rung", name=op.f("uq_escalations_conversation_id_round_rung")),
    )
    op.create_index("ix_escalations_journey_id", "escalations", ["journey_id"])
    op.create_index(
        "ix_escalations_sweep_at", "escalations", ["sweep_at"], postgresql_where=sa.text("sweep_at IS NOT NULL")
    )


def _pushes() -> None:
    op.create_table(
        "escalation_pushes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("escalation_id", sa.Uuid(), nullable=False),
        sa.Column("journey_id", sa.Uuid(), nullable=False),
        sa.Column("consultant_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("payload", JSONB, nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        _at("due_at"),
        _at("sweep_at"),
        sa.Column("published", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        _at("lease_until"),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_text", sa.Text(), nullable=True),
        _at("created_at", required=True, now=True),
        _at("sent_at"),
        sa.CheckConstraint(
            "status IN ('pending', 'sent', 'delivered', 'seen', 'failed')",
            name=op.f("ck_escalation_pushes_status_known"),
        ),
        sa.ForeignKeyConstraint(
            ["escalation_id"], ["escalations.id"], name=op.f("fk_escalation_pushes_escalation_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["journey_id"], ["journeys.id"], name=op.f("fk_escalation_pushes_journey_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["consultant_id"], ["consultants.id"], name=op.f("fk_escalation_pushes_consultant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_escalation_pushes")),
        sa.UniqueConstraint(
            "escalation_id", "consultant_id", name=op.f("uq_escalation_pushes_escalation_id_consultant_id")
        ),
    )
    op.create_index("ix_escalation_pushes_journey_id", "escalation_pushes", ["journey_id"])
    op.create_index(
        "ix_escalation_pushes_sweep_at",
        "escalation_pushes",
        ["sweep_at"],
        postgresql_where=sa.text("sweep_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table("escalation_pushes")
    op.drop_table("escalations")
    op.drop_index("ix_notifications_receipt_due_at", table_name="notifications")
    op.drop_column("notifications", "receipt_due_at")
    op.drop_table("push_keys")
    op.drop_constraint(op.f("ck_push_channels_kind_known"), "push_channels")
    for column in ("last_error_at", "disabled_reason", "name"):
        op.drop_column("push_channels", column)
    op.execute("DROP TRIGGER consultants_announce ON consultants")
    for column in ("is_supervisor", "working_hours", "skills", "languages"):
        op.drop_column("consultants", column)
