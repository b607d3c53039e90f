"""What a proof's stack has beyond the fault suite's: tool groups, an administrator, short agent calls, tables on request."""

import json
import sys

from pydantic import SecretStr

from core.settings import get_settings
from services import automation, mcp_groups, mcp_seed, users
from services.permissions import Role

ADMIN, PASSWORD = "proof-admin", "a password for the proof"
# The welcome agent's group (contract section 5).
GROUP = "customer_tools"


def main() -> None:
    mcp_seed.ensure_seed()
    key = mcp_groups.reveal_key(GROUP, "proof")
    (get_settings().data_dir / "mcp_key").write_text(key.get_secret_value())
    users.create_staff_user(ADMIN, SecretStr(PASSWORD), [Role.ADMIN, Role.OPERATOR], actor="proof")
    values = automation.current().model_dump(mode="json")
    automation.change(_merged(values, json.loads(sys.argv[1])), actor="proof")


def _merged(values: dict[str, object], changes: dict[str, object]) -> dict[str, object]:
    """Return the values with the changes laid over them, part by part."""
    merged = dict(values)
    for name, change in changes.items():
        old = merged.get(name)
        merged[name] = _merged(old, change) if isinstance(old, dict) and isinstance(change, dict) else change
    return merged


if __name__ == "__main__":
    main()
