"""MCP groups, tools and the call log; the catalogue of treatments the tools answer from."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# When a key was last used is written with every batch of the call log and changes nothing for anybody: not announced.
ANNOUNCED_GROUP_COLUMNS = "name, description, enabled, key_hash, key_encrypted, key_expires_at, user_tier_access, allowed_roles, accepts_user_ids"


def upgrade() -> None:
    op.create_table(
        "mcp_call_logs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tool_name", sa.Text(), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column("group_name", sa.Text(), nullable=False),
        sa.Column("journey_id", sa.Uuid(), nullable=True),
        sa.Column("caller_app_id", sa.Text(), nullable=True),
        sa.Column("transport", sa.Text(), nullable=False),
        sa.Column("protocol_version", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("success", sa.Boolean(), nullable=False),
        sa.Column("duration_ms", sa.Double(), nullable=False),
        sa.Column("request", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("response", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('ok', 'error', 'timeout', 'unknown_tool', 'disabled_tool', 'foreign_tool', 'invalid_arguments', 'not_allowed', 'rate_limited')",
            name=op.f("ck_mcp_call_logs_outcome_known"),
        ),
        sa.PrimaryKeyConstraint("id", "created_at", name=op.f("pk_mcp_call_logs")),
        postgresql_partition_by="RANGE (created_at)",
    )
    op.create_index(
        "ix_mcp_call_logs_caller_app_id_created_at", "mcp_call_logs", ["caller_app_id", "created_at"], unique=False
    )
    op.create_index("ix_mcp_call_logs_group_id_created_at", "mcp_call_logs", ["group_id", "created_at"], unique=False)
    op.create_index(
        "ix_mcp_call_logs_journey_id",
        "mcp_call_logs",
        ["journey_id"],
        unique=False,
        postgresql_where=sa.text("journey_id IS NOT NULL"),
    )
    op.create_index(
        "ix_mcp_call_logs_tool_name_success_created_at",
        "mcp_call_logs",
        ["tool_name", "success", "created_at"],
        unique=False,
    )
    op.create_table(
        "mcp_call_totals",
        sa.Column("tool_name", sa.Text(), nullable=False),
        sa.Column("group_name", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("duration_seconds", sa.Double(), nullable=False),
        sa.Column("buckets", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.PrimaryKeyConstraint("tool_name", "group_name", "outcome", name=op.f("pk_mcp_call_totals")),
    )
    op.create_table(
        "mcp_tool_groups",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("key_encrypted", sa.LargeBinary(), nullable=False),
        sa.Column("key_created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("key_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("key_last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "user_tier_access",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'::jsonb"),
            nullable=False,
        ),
        sa.Column(
            "allowed_roles",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'::jsonb"),
            nullable=False,
        ),
        sa.Column("accepts_user_ids", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mcp_tool_groups")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_mcp_tool_groups_key_hash")),
        sa.UniqueConstraint("name", name=op.f("uq_mcp_tool_groups_name")),
    )
    op.create_table(
        "treatment_projects",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("price_min_yuan", sa.Integer(), nullable=False),
        sa.Column("price_max_yuan", sa.Integer(), nullable=False),
        sa.Column("duration_minutes", sa.Integer(), nullable=False),
        sa.Column("recovery_days", sa.Integer(), nullable=False),
        sa.Column(
            "interests", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.Column(
            "contraindications",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'::jsonb"),
            nullable=False,
        ),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("price_max_yuan >= price_min_yuan", name=op.f("ck_treatment_projects_prices_ordered")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_treatment_projects")),
        sa.UniqueConstraint("code", name=op.f("uq_treatment_projects_code")),
    )
    op.create_table(
        "appointments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), server_default="booked", nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("status IN ('booked', 'done', 'cancelled')", name=op.f("ck_appointments_status_known")),
        sa.ForeignKeyConstraint(["customer_id"], ["users.id"], name=op.f("fk_appointments_customer_id")),
        sa.ForeignKeyConstraint(["project_id"], ["treatment_projects.id"], name=op.f("fk_appointments_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_appointments")),
    )
    op.create_index("ix_appointments_customer_id_starts_at", "appointments", ["customer_id", "starts_at"], unique=False)
    op.create_index(
        "uq_appointments_slot",
        "appointments",
        ["project_id", "starts_at"],
        unique=True,
        postgresql_where=sa.text("status = 'booked'"),
    )
    op.create_table(
        "mcp_tools",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tool_name", sa.Text(), nullable=False),
        sa.Column("group_id", sa.Uuid(), nullable=False),
        sa.Column("handler", sa.Text(), server_default="python", nullable=False),
        sa.Column("version", sa.Text(), server_default="1.0.0", nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("input_schema", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("timeout_seconds", sa.Double(), server_default=sa.text("30"), nullable=False),
        sa.Column(
            "config_data",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("handler IN ('python')", name=op.f("ck_mcp_tools_handler_known")),
        sa.ForeignKeyConstraint(
            ["group_id"], ["mcp_tool_groups.id"], name=op.f("fk_mcp_tools_group_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mcp_tools")),
        sa.UniqueConstraint("group_id", "tool_name", name=op.f("uq_mcp_tools_group_id_tool_name")),
    )
    op.create_index("ix_mcp_tools_tool_name", "mcp_tools", ["tool_name"], unique=False)
    op.create_table(
        "treatment_plans",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("items", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("budget_yuan", sa.Integer(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["users.id"], name=op.f("fk_treatment_plans_customer_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_treatment_plans")),
    )
    op.create_index(
        "ix_treatment_plans_customer_id_created_at", "treatment_plans", ["customer_id", "created_at"], unique=False
    )
    op.create_table(
        "treatment_records",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("doctor", sa.Text(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column(
            "reactions", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False
        ),
        sa.Column("paid_yuan", sa.Integer(), nullable=False),
        sa.Column("performed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["users.id"], name=op.f("fk_treatment_records_customer_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["treatment_projects.id"], name=op.f("fk_treatment_records_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_treatment_records")),
    )
    op.create_index(
        "ix_treatment_records_customer_id_performed_at",
        "treatment_records",
        ["customer_id", "performed_at"],
        unique=False,
    )
    op.create_table(
        "consultation_records",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("consultant_id", sa.Uuid(), nullable=True),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["consultant_id"], ["consultants.id"], name=op.f("fk_consultation_records_consultant_id")
        ),
        sa.ForeignKeyConstraint(["customer_id"], ["users.id"], name=op.f("fk_consultation_records_customer_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["treatment_projects.id"], name=op.f("fk_consultation_records_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consultation_records")),
    )
    op.create_index(
        "ix_consultation_records_customer_id_occurred_at",
        "consultation_records",
        ["customer_id", "occurred_at"],
        unique=False,
    )
    # Rows for a month that nobody made a partition for land here: none is ever refused.
    op.execute("CREATE TABLE mcp_call_logs_default PARTITION OF mcp_call_logs DEFAULT")
    for table, columns in {"mcp_tool_groups": f"OF {ANNOUNCED_GROUP_COLUMNS}", "mcp_tools": ""}.items():
        op.execute(
            f"CREATE TRIGGER {table}_announce AFTER INSERT OR UPDATE {columns} OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION anmei_announce('mcp')"
        )


def downgrade() -> None:
    op.drop_index("ix_consultation_records_customer_id_occurred_at", table_name="consultation_records")
    op.drop_table("consultation_records")
    op.drop_index("ix_treatment_records_customer_id_performed_at", table_name="treatment_records")
    op.drop_table("treatment_records")
    op.drop_index("ix_treatment_plans_customer_id_created_at", table_name="treatment_plans")
    op.drop_table("treatment_plans")
    op.drop_index("ix_mcp_tools_tool_name", table_name="mcp_tools")
    op.drop_table("mcp_tools")
    op.drop_index("uq_appointments_slot", table_name="appointments", postgresql_where=sa.text("status = 'booked'"))
    op.drop_index("ix_appointments_customer_id_starts_at", table_name="appointments")
    op.drop_table("appointments")
    op.drop_table("treatment_projects")
    op.drop_table("mcp_tool_groups")
    op.drop_table("mcp_call_totals")
    op.drop_index("ix_mcp_call_logs_tool_name_success_created_at", table_name="mcp_call_logs")
    op.drop_index(
        "ix_mcp_call_logs_journey_id", table_name="mcp_call_logs", postgresql_where=sa.text("journey_id IS NOT NULL")
    )
    op.drop_index("ix_mcp_call_logs_group_id_created_at", table_name="mcp_call_logs")
    op.drop_index("ix_mcp_call_logs_caller_app_id_created_at", table_name="mcp_call_logs")
    op.drop_table("mcp_call_logs")
