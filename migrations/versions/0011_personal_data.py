"""Who was erased, so that a repeated registration is known for one; and how far each kind of data was pruned."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_users_erased_at", "users", ["erased_at"], postgresql_where=sa.text("erased_at IS NOT NULL"))
    op.create_table(
        "erased_users",
        sa.Column("external_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("external_hash", name=op.f("pk_erased_users")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_erased_users_user_id")),
    )
    op.create_table(
        "retention_marks",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("pruned_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_retention_marks")),
    )


def downgrade() -> None:
    op.drop_table("retention_marks")
    op.drop_table("erased_users")
    op.drop_index("ix_users_erased_at", table_name="users", postgresql_where=sa.text("erased_at IS NOT NULL"))
    op.drop_column("users", "erased_at")
