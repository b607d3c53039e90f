"""Messages are pruned by their own time: the mark, which counted journeys' ends, begins anew, and what it left is found."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("UPDATE retention_marks SET pruned_until = '1970-01-01 00:00+00' WHERE kind = 'messages'")


def downgrade() -> None:
    # Of the journeys that ended before, none has anything left to prune; the earlier release looks at them once more.
    op.execute("UPDATE retention_marks SET pruned_until = '1970-01-01 00:00+00' WHERE kind = 'messages'")
