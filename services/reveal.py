"""Whether somebody is shown customers unmasked: by their role, or because they ask for it, which is audited."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from core.database import unit_of_work
from core.ids import HANDLE_PREFIX
from core.storable import storable
from queries import subjects as people
from services import audit, masking
from services.auth import Identity
from services.permissions import Permission

# Whoever was named and is nobody here: what was typed in may itself be personal, and the log keeps it for ever.
NOBODY = "nobody"
# Of a list that was looked at, in its one entry.
SUBJECTS_NAMED = 200


def shows(who: Identity, subjects: Sequence[str], *, asked: bool, origin: str | None = None) -> bool:
    """Tell whether these subjects (`journey:…`) are shown unmasked. Raises NotAllowedError for who may not ask.

    Who looks after customers sees them without asking. Others ask, and what they see is written into the audit log first.
    """
    if masking.sees_customers(who):
        return True
    if not asked:
        return False
    who.require(Permission.REVEAL_PERSONAL_DATA)
    if subjects:
        with unit_of_work() as session:
            audit.record(
                session,
                actor=who.actor,
                action=audit.REVEAL,
                subject=subjects[0] if len(subjects) == 1 else subjects[0].partition(":")[0],
                after={"subjects": list(subjects[:SUBJECTS_NAMED])} if len(subjects) > 1 else None,
                origin=origin,
            )
    return True


def note_tool_call(
    tool_id: UUID, tool: str, *, actor: str, user_id: object, acting_for: str | None, origin: str | None
) -> None:
    """Write down that somebody is about to read what the tool answers, unmasked, about whom and on whose behalf.

    People are named by our own ids, which say nothing once they are erased; `nobody` is whom nobody here goes by.
    """
    with unit_of_work() as session:
        about = {"tool": tool, "user_id": _own_id(session, user_id), "acting_for": _own_id(session, acting_for)}
        audit.record(
            session, actor=actor, action=audit.REVEAL, subject=f"mcp_tool:{tool_id}", after=about, origin=origin
        )


def _own_id(session: Session, reference: object) -> str | None:
    if not isinstance(reference, str) or not reference:
        return None
    try:
        storable(reference)
    except ValueError:
        return NOBODY
    if reference.startswith(HANDLE_PREFIX):
        holder = people.find_by_handle(session, reference)
        return str(holder.user.id) if holder is not None else NOBODY
    found = people.find_by_user_id(session, reference)
    return str(found.id) if found is not None else NOBODY
