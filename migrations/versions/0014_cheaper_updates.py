"""Indexes that cost every journey more than they were worth, and room for events to be numbered on their page."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_journeys_finished", "journeys", ["finished_at"], postgresql_where=sa.text("finished_at IS NOT NULL")
    )
    op.drop_index("ix_journeys_finished_at", "journeys")
    # The previous release prunes by it, an hour apart: a scan of a week's events meanwhile, and no more.
    op.drop_index("ix_events_created_at", "events")
    op.execute("ALTER TABLE events SET (fillfactor = 50)")


def downgrade() -> None:
    op.execute("ALTER TABLE events RESET (fillfactor)")
    op.create_index("ix_events_created_at", "events", ["created_at"])
    op.create_index("ix_journeys_finished_at", "journeys", ["finished_at"])
    op.drop_index("ix_journeys_finished", "journeys")
