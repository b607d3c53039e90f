"""What this proof's stack has beyond the fault suite's: consultants who are signed in, their channels, settings on request."""

import json
import sys
from typing import Any

from argon2 import PasswordHasher
from pydantic import SecretStr
from sqlalchemy import text

from core import passwords
from core.database import unit_of_work
from core.settings import get_settings
from models import PushKind
from queries.consultants import list_presence
from services import auth, automation, push_channels, push_keys, users
from services.permissions import Role
from tests.support.layers import laid_over

PASSWORD = SecretStr("a password for the proof")
FILE = "consultants.json"


def main() -> None:
    options = json.loads(sys.argv[1])
    # Hundreds sign in here; what argon2 costs is not what is measured.
    passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    with unit_of_work() as session:
        session.execute(text("UPDATE consultants SET enabled = false"))
    made = [_consultant(number, wanted) for number, wanted in enumerate(options["consultants"])]
    automation.change(laid_over(automation.current().model_dump(mode="json"), options["settings"]), actor="proof")
    said = {"webpush_key": push_keys.public_key(), "consultants": made}
    (get_settings().data_dir / FILE).write_text(json.dumps(said))


def _consultant(number: int, wanted: dict[str, Any]) -> dict[str, str]:
    name = f"consultant-{number:03}"
    user = users.create_staff_user(name, PASSWORD, [Role.CONSULTANT], actor="proof")
    with unit_of_work() as session:
        (consultant_id,) = [one.consultant_id for one in list_presence(session) if one.user_id == user.id]
        if wanted.get("is_supervisor"):
            session.execute(text("UPDATE consultants SET is_supervisor = true WHERE id = :i"), {"i": consultant_id})
    for channel in wanted.get("channels", ()):
        kind, url = PushKind(channel["kind"]), SecretStr(channel["url"])
        push_channels.add(consultant_id, kind, url, name=None, actor="proof")
    # Sign-ins from one address are limited.
    token = auth.login(name, PASSWORD, origin=f"10.0.{number // 250}.{number % 250}").access_token.get_secret_value()
    return {"name": name, "consultant_id": str(consultant_id), "token": token}


if __name__ == "__main__":
    main()
