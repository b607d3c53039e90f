"""Who may do what: the one table of roles and permissions."""

from collections.abc import Iterable
from enum import StrEnum


class Role(StrEnum):
    ADMIN = "admin"
    OPERATOR = "operator"
    CONSULTANT = "consultant"
    CUSTOMER = "customer"


STAFF = frozenset({Role.ADMIN, Role.OPERATOR, Role.CONSULTANT})


class Permission(StrEnum):
    """What a route asks for. Whether one may see a certain conversation is decided by the service, row by row."""

    WATCH_JOURNEYS = "watch_journeys"
    REPAIR_JOURNEYS = "repair_journeys"
    WATCH_FIGURES = "watch_figures"
    CONVERSE = "converse"
    WATCH_CONSULTANTS = "watch_consultants"
    CLAIM_CUSTOMERS = "claim_customers"
    RATE_MESSAGES = "rate_messages"
    MINT_CUSTOMER_TOKENS = "mint_customer_tokens"
    CONFIGURE = "configure"
    MANAGE_MCP = "manage_mcp"
    MANAGE_AGENTS = "manage_agents"
    MANAGE_USERS = "manage_users"
    # Masked without it, and shown by an act of its own, which is audited.
    REVEAL_PERSONAL_DATA = "reveal_personal_data"
    EXPORT_AND_ERASE = "export_and_erase"
    MANAGE_SECRETS = "manage_secrets"
    MANAGE_ALERTS = "manage_alerts"
    READ_AUDIT_LOG = "read_audit_log"
    RECEIVE_CONSULTANT_EVENTS = "receive_consultant_events"
    RECEIVE_CUSTOMER_EVENTS = "receive_customer_events"


_ADMIN = frozenset({Role.ADMIN})
_OPERATOR = frozenset({Role.ADMIN, Role.OPERATOR})

ROLES_OF: dict[Permission, frozenset[Role]] = {
    Permission.WATCH_JOURNEYS: _OPERATOR,
    Permission.REPAIR_JOURNEYS: _OPERATOR,
    Permission.WATCH_FIGURES: _OPERATOR,
    # Operators read along; who writes is a consultant, or the customer whose conversation it is.
    Permission.CONVERSE: frozenset({Role.ADMIN, Role.OPERATOR, Role.CONSULTANT, Role.CUSTOMER}),
    Permission.WATCH_CONSULTANTS: STAFF,
    Permission.CLAIM_CUSTOMERS: frozenset({Role.CONSULTANT}),
    Permission.RATE_MESSAGES: frozenset({Role.CUSTOMER}),
    Permission.MINT_CUSTOMER_TOKENS: _OPERATOR,
    Permission.CONFIGURE: _ADMIN,
    Permission.MANAGE_MCP: _ADMIN,
    Permission.MANAGE_AGENTS: _ADMIN,
    Permission.MANAGE_USERS: _ADMIN,
    Permission.REVEAL_PERSONAL_DATA: _OPERATOR,
    Permission.EXPORT_AND_ERASE: _ADMIN,
    Permission.MANAGE_SECRETS: _ADMIN,
    Permission.MANAGE_ALERTS: _ADMIN,
    Permission.READ_AUDIT_LOG: _ADMIN,
    Permission.RECEIVE_CONSULTANT_EVENTS: frozenset({Role.CONSULTANT}),
    Permission.RECEIVE_CUSTOMER_EVENTS: frozenset({Role.CUSTOMER}),
}


def allows(permission: Permission, roles: Iterable[Role]) -> bool:
    """Tell whether one of the roles has the permission."""
    return not ROLES_OF[permission].isdisjoint(roles)
