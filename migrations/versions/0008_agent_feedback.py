"""What providers are told of a customer's rating, and agents that are gone but still named by what they did."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("agents", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "agent_feedback",
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("revision", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("sweep_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_text", sa.Text(), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status IN ('pending', 'sent', 'failed')", name=op.f("ck_agent_feedback_status_known")),
        sa.CheckConstraint("verdict IN ('like', 'dislike')", name=op.f("ck_agent_feedback_verdict_known")),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name=op.f("fk_agent_feedback_message_id")),
        sa.ForeignKeyConstraint(
            ["call_id"], ["agent_calls.id"], name=op.f("fk_agent_feedback_call_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_agent_feedback")),
    )
    op.create_index("ix_agent_feedback_call_id", "agent_feedback", ["call_id"])
    # Only what is still to be told; there is never much.
    op.create_index(
        "ix_agent_feedback_sweep_at", "agent_feedback", ["sweep_at"], postgresql_where=sa.text("sweep_at IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_table("agent_feedback")
    op.drop_column("agents", "deleted_at")
