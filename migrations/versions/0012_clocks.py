"""How far a worker's clock is from the database's, told with its heartbeat."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("worker_heartbeats", sa.Column("clock_ahead_seconds", sa.Float(), nullable=True))


def downgrade() -> None:
    op.drop_column("worker_heartbeats", "clock_ahead_seconds")
