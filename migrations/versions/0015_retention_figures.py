"""What the pruning came to, kept with its marks: rows by kind, and when a run last left nothing older behind."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "retention_marks", sa.Column("rows_pruned", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("retention_marks", sa.Column("caught_up_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("retention_marks", "caught_up_at")
    op.drop_column("retention_marks", "rows_pruned")
