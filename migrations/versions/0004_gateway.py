"""Agent versions, outcomes and circuit states."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
ZERO = sa.text("0")


def upgrade() -> None:
    _create_versions()
    _create_circuits()
    op.add_column("agent_calls", sa.Column("version_id", sa.Uuid(), nullable=True))
    op.add_column("agent_calls", sa.Column("first_token_ms", sa.Integer(), nullable=True))
    op.add_column("agent_calls", sa.Column("provider_message_id", sa.Text(), nullable=True))
    op.add_column("agent_calls", sa.Column("refusal", sa.Text(), nullable=True))
    op.add_column("agent_calls", sa.Column("refused_answer", sa.Text(), nullable=True))
    op.create_foreign_key(
        op.f("fk_agent_calls_version_id"), "agent_calls", "agent_versions", ["version_id"], ["id"], ondelete="SET NULL"
    )
    # Small: only what somebody has to look at.
    op.create_index(
        "ix_agent_calls_refused", "agent_calls", ["started_at"], postgresql_where=sa.text("refusal IS NOT NULL")
    )
    # The concurrency cap counts these; there are never many.
    op.create_index(
        "ix_agent_calls_running",
        "agent_calls",
        ["agent_id", "version_id"],
        postgresql_where=sa.text("status = 'running'"),
    )


def _create_versions() -> None:
    op.create_table(
        "agent_versions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), server_default="", nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("weight", sa.SmallInteger(), server_default=sa.text("100"), nullable=False),
        sa.Column("canary_percent", sa.SmallInteger(), server_default=ZERO, nullable=False),
        sa.Column("app_id", sa.Text(), nullable=True),
        sa.Column("api_key_encrypted", sa.LargeBinary(), nullable=True),
        sa.Column("mode", sa.Text(), nullable=True),
        sa.Column("timeout_ms", sa.Integer(), nullable=True),
        sa.Column("instruction", sa.Text(), nullable=True),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("status_changed_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint(
            "status IN ('active', 'canary', 'rolled_back', 'retired')", name=op.f("ck_agent_versions_status_known")
        ),
        sa.CheckConstraint("weight BETWEEN 0 AND 1000", name=op.f("ck_agent_versions_weight_bounded")),
        sa.CheckConstraint("canary_percent BETWEEN 0 AND 100", name=op.f("ck_agent_versions_canary_percent_bounded")),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_agent_versions_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agent_versions")),
        sa.UniqueConstraint("agent_id", "number", name=op.f("uq_agent_versions_agent_id_number")),
    )
    # A version changes who is asked, as its agent does: the same snapshot follows.
    op.execute(
        "CREATE TRIGGER agent_versions_announce AFTER INSERT OR UPDATE OR DELETE ON agent_versions "
        "FOR EACH STATEMENT EXECUTE FUNCTION anmei_announce('agents')"
    )


def _create_circuits() -> None:
    counters = ("consecutive_failures", "window_successes", "window_failures", "opened_times", "probes_open")
    op.create_table(
        "agent_circuits",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), server_default="closed", nullable=False),
        *(sa.Column(name, sa.Integer(), server_default=ZERO, nullable=False) for name in counters),
        sa.Column("probe_successes", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("window_started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("probed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint("state IN ('closed', 'open', 'half_open')", name=op.f("ck_agent_circuits_state_known")),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_agent_circuits_agent_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agent_circuits")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_index(op.f("ix_agent_circuits_agent_id"), "agent_circuits", ["agent_id"])


def downgrade() -> None:
    op.drop_index("ix_agent_calls_running", "agent_calls")
    op.drop_index("ix_agent_calls_refused", "agent_calls")
    for name in ("refused_answer", "refusal", "provider_message_id", "first_token_ms", "version_id"):
        op.drop_column("agent_calls", name)
    op.drop_table("agent_circuits")
    op.drop_table("agent_versions")
