"""Whether somebody is shown customers unmasked: by their role, or because they ask for it, which is audited."""

from collections.abc import Sequence

from core.database import unit_of_work
from services import audit, masking
from services.auth import Identity
from services.permissions import Permission

ACTION = "personal_data.reveal"
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
                action=ACTION,
                subject=subjects[0] if len(subjects) == 1 else subjects[0].partition(":")[0],
                after={"subjects": list(subjects[:SUBJECTS_NAMED])} if len(subjects) > 1 else None,
                origin=origin,
            )
    return True
