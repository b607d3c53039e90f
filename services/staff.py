"""People who sign in, made by an administrator at the console."""

from pydantic import SecretStr

from core.clock import utc_now
from core.database import unit_of_work
from core.errors import ConflictError, InvalidInputError
from core.ids import new_id
from core.passwords import hash_password, new_password
from models import AuditEntry, Consultant, User
from queries import seed as seed_queries

STAFF_ROLES = ("admin", "operator", "consultant")
SHORTEST_PASSWORD = 10


def create_login(
    username: str, role: str, *, password: SecretStr | None = None, reset: bool = False, actor: str
) -> SecretStr:
    """Create a user of the role, a consultant with their own row, and return the password; made if none is given.

    Raises ConflictError when the name is taken, unless `reset` is set: then the user gets the new password and role.
    Raises InvalidInputError for an unknown role, an empty name or a password under 10 characters.
    """
    if role not in STAFF_ROLES:
        raise InvalidInputError(f"the role must be one of {', '.join(STAFF_ROLES)}")
    if not username.strip():
        raise InvalidInputError("the name must not be empty")
    if password is not None and len(password.get_secret_value()) < SHORTEST_PASSWORD:
        raise InvalidInputError(f"the password must have at least {SHORTEST_PASSWORD} characters")
    chosen = password or new_password()
    hashed = hash_password(chosen)
    with unit_of_work() as session:
        seed_queries.lock_seed(session)
        user = seed_queries.find_login(session, username)
        if user is not None and not reset:
            raise ConflictError(f"{username} exists already: give a new password with --reset")
        if user is None:
            user = User(id=new_id(), username=username, registered_at=utc_now())
            session.add(user)
        user.password_hash, user.roles, user.primary_role = hashed, [role], role
        session.flush()
        if role == "consultant" and seed_queries.find_consultant(session, user.id) is None:
            session.add(Consultant(user_id=user.id, display_name=username))
        action = "user.password_reset" if reset else "user.create"
        session.add(AuditEntry(actor=actor, action=action, subject=f"user:{user.id}", after={"role": role}))
    return chosen
