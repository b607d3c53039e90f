"""Which process runs which settings, and whom a provider's sign-in stands for."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

JSONB = postgresql.JSONB(astext_type=sa.Text())
NOW, EMPTY = sa.text("now()"), sa.text("'{}'::jsonb")


def _at(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=NOW, nullable=False)


def upgrade() -> None:
    op.create_table(
        "settings_processes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("listener_pid", sa.Integer(), nullable=True),
        sa.Column("versions", JSONB, server_default=EMPTY, nullable=False),
        sa.Column("refused", JSONB, server_default=EMPTY, nullable=False),
        _at("started_at"),
        _at("changed_at"),
        _at("seen_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_settings_processes")),
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "oidc_identities",
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        _at("created_at"),
        _at("last_used_at"),
        sa.PrimaryKeyConstraint("issuer", "subject", name=op.f("pk_oidc_identities")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_oidc_identities_user_id"), ondelete="CASCADE"),
    )
    op.create_index("ix_oidc_identities_user_id", "oidc_identities", ["user_id"])


def downgrade() -> None:
    op.drop_table("oidc_identities")
    op.drop_table("settings_processes")
