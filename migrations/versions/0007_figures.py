"""Rollups behind the metrics."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# What a rollup reads forward by: written once, at insertion, so that updates of these rows stay on their page (HOT).
KEYS = {
    "step_attempts": "started_at",
    "agent_calls": "started_at",
    "notifications": "created_at",
    "dead_letters": "opened_at",
}


def upgrade() -> None:
    op.create_table(
        "figure_totals",
        sa.Column("figure", sa.Text(), nullable=False),
        sa.Column("labels", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("le", sa.Double(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("sum_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("figure", "labels", "le", name=op.f("pk_figure_totals")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "figure_sources",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("watermark", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rolled_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_figure_sources")),
    )
    op.create_table(
        "figure_pending",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("row_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("source", "row_id", name=op.f("pk_figure_pending")),
    )
    op.create_table(
        "webhook_outcomes",
        sa.Column("writer_id", sa.Uuid(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("writer_id", "outcome", name=op.f("pk_webhook_outcomes")),
    )
    op.create_table(
        "worker_heartbeats",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("queues", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_task_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker_heartbeats")),
        prefixes=["UNLOGGED"],
    )
    for table, key in KEYS.items():
        op.create_index(f"ix_{table}_{key}", table, [key])
    op.create_index(
        "ix_messages_welcome_created_at", "messages", ["created_at"], postgresql_where=sa.text("source IS NOT NULL")
    )
    op.create_index("ix_dead_letters_journey_id", "dead_letters", ["journey_id"])


def downgrade() -> None:
    op.drop_index("ix_dead_letters_journey_id", "dead_letters")
    op.drop_index("ix_messages_welcome_created_at", "messages")
    for table, key in KEYS.items():
        op.drop_index(f"ix_{table}_{key}", table)
    for table in ("worker_heartbeats", "webhook_outcomes", "figure_pending", "figure_sources", "figure_totals"):
        op.drop_table(table)
