"""The groups, tools and treatments a new installation starts with."""

from typing import NamedTuple

from core import crypto
from core.database import unit_of_work
from models import ToolGroup
from queries import customer_records
from queries import mcp_groups as group_queries
from services import mcp_registry, treatment_seed
from services.mcp_groups import new_key
from services.mcp_work import EXTERNAL, INTERNAL

CREATED_BY = "system"


class SeedGroup(NamedTuple):
    """A group of requirement A4.3."""

    name: str
    description: str
    tools: tuple[str, ...]
    tiers: tuple[str, ...]
    roles: tuple[str, ...]
    accepts_user_ids: bool


GROUPS = (
    # Serves whoever registers, staff included (internal accounts are the first stage of a rollout).
    SeedGroup(
        "customer_tools",
        "The welcome agent: the customer of a running journey, named by its handle only",
        ("get_user_profile", "analyze_customer", "get_conversation_data", "get_business_metrics"),
        (),
        (),
        False,
    ),
    SeedGroup(
        "system_tools",
        "Administration: users, configuration, backups",
        ("user_management", "system_config", "backup_restore"),
        (INTERNAL,),
        ("admin",),
        True,
    ),
    SeedGroup(
        "medical_tools",
        "Doctors: a patient's records and what they say",
        ("patient_analysis", "medical_records", "diagnosis_assist"),
        (INTERNAL,),
        ("admin", "doctor"),
        True,
    ),
    SeedGroup(
        "consultation_tools",
        "Consultants: a customer's history, analysis and plans",
        ("consultation_history", "plan_generation", "customer_analysis"),
        (INTERNAL,),
        ("admin", "consultant", "doctor"),
        True,
    ),
    SeedGroup(
        "project_tools",
        "Customers: what is offered, what it costs, and booking it",
        ("basic_inquiry", "appointment_booking", "service_info", "get_project_metrics"),
        (EXTERNAL,),
        ("customer",),
        False,
    ),
)


def ensure_seed() -> None:
    """Create what is missing of the first groups, tools and treatments. Safe to run at every start and from many processes.

    What exists is left as administrators made it; a group gets its key when it is created.
    """
    with unit_of_work() as session:
        existing = {group.name for group in group_queries.list_groups(session)}
        for seed in GROUPS:
            if seed.name in existing:
                continue
            key = new_key()
            group = ToolGroup(
                name=seed.name,
                description=seed.description,
                key_hash=crypto.lookup_hash(key),
                key_encrypted=crypto.encrypt(key),
                user_tier_access=list(seed.tiers),
                allowed_roles=list(seed.roles),
                accepts_user_ids=seed.accepts_user_ids,
                created_by=CREATED_BY,
            )
            # Tools come with their new group only: one an administrator took away must not come back at the next start.
            if group_queries.insert_group_if_missing(session, group):
                group_queries.insert_tools_if_missing(session, seed.name, list(seed.tools))
        customer_records.insert_projects_if_missing(session, treatment_seed.projects())
    mcp_registry.reload()
