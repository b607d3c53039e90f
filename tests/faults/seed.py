"""What a stack under test starts with: one agent, consultants with push channels, a webhook secret, short retries."""

import json
import sys

from pydantic import SecretStr

from core.crypto import encrypt
from core.database import unit_of_work
from core.settings import get_settings
from models import WebhookSecret
from services import automation, push_settings, webhook_signature
from tests.support.factories import create_agent, create_consultant, create_push_channel


def main() -> None:
    agent_url, agent_key, push_url, consultants, delays = sys.argv[1:]
    create_agent(agent_url, api_key=agent_key, name="welcome", timeout_ms=20_000)
    for number in range(int(consultants)):
        create_push_channel(create_consultant(), f"{push_url}/{number}")
    push_settings.allow_loopback(actor="faults")
    secret = webhook_signature.new_secret()
    with unit_of_work() as session:
        session.add(WebhookSecret(secret_encrypted=encrypt(secret), created_by="faults"))
    retry = {"max_retries": 3, "delays_seconds": json.loads(delays)}
    automation.change({"retry": retry, "intake": {"rate_limit_per_second": 100_000}}, actor="faults")
    _write(secret)


def _write(secret: SecretStr) -> None:
    (get_settings().data_dir / "webhook_secret").write_text(secret.get_secret_value())


if __name__ == "__main__":
    main()
