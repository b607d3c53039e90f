"""What every contestant starts with: one agent, consultants at their desks, a webhook secret. ``python -m bench.seed``."""

import sys
from datetime import timedelta

from pydantic import SecretStr

from core.clock import utc_now
from core.crypto import encrypt
from core.database import unit_of_work
from core.ids import new_id
from models import Agent, Consultant, ConsultantConnection, User, WebhookSecret
from services import automation, webhook_signature

AGENT_KEY = "app-bench"
# Far above any rate here: what is measured is the work, not its refusal.
RATE_LIMIT_PER_SECOND = 100_000


def main() -> None:
    """Seed the database; arguments: the agent's base URL, the number of consultants. Prints the webhook secret."""
    agent_url, consultants = sys.argv[1], int(sys.argv[2])
    secret = webhook_signature.new_secret()
    with unit_of_work() as session:
        session.add(
            Agent(name="bench", base_url=agent_url, api_key_encrypted=encrypt(SecretStr(AGENT_KEY)), timeout_ms=20_000)
        )
        session.add(WebhookSecret(secret_encrypted=encrypt(secret), created_by="bench"))
        for number in range(consultants):
            user = User(id=new_id(), username=f"consultant {number}", roles=["consultant"], registered_at=utc_now())
            session.add(user)
            session.flush()
            consultant = Consultant(id=new_id(), user_id=user.id, display_name=user.username)
            session.add(consultant)
            session.flush()
            # Online for the whole run, so that each is told through a socket: one row, no outside call.
            session.add(
                ConsultantConnection(id=new_id(), consultant_id=consultant.id, expires_at=utc_now() + timedelta(days=1))
            )
    automation.change({"intake": {"rate_limit_per_second": RATE_LIMIT_PER_SECOND}}, actor="bench")
    print(secret.get_secret_value())


if __name__ == "__main__":
    main()
