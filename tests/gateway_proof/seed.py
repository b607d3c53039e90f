"""What a proof's stack has beyond the fault suite's: tool groups, an administrator, short agent calls, tables on request."""

import json
import sys

from pydantic import SecretStr

from core.settings import get_settings
from services import automation, mcp_groups, mcp_seed, users
from services.permissions import Role
from tests.support.layers import laid_over

ADMIN, PASSWORD = "proof-admin", "a password for the proof"
# The welcome agent's group (contract section 5).
GROUP = "customer_tools"


def main() -> None:
    mcp_seed.ensure_seed()
    key = mcp_groups.reveal_key(GROUP, "proof")
    (get_settings().data_dir / "mcp_key").write_text(key.get_secret_value())
    users.create_staff_user(ADMIN, SecretStr(PASSWORD), [Role.ADMIN, Role.OPERATOR], actor="proof")
    values = automation.current().model_dump(mode="json")
    automation.change(laid_over(values, json.loads(sys.argv[1])), actor="proof")


if __name__ == "__main__":
    main()
