"""The call log by time: its newest page, unfiltered, would otherwise read and sort a whole month."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # On every month there is and every month to come. Meanwhile the writers of the log wait or put rows into files.
    op.create_index("ix_mcp_call_logs_created_at", "mcp_call_logs", ["created_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_mcp_call_logs_created_at", "mcp_call_logs")
