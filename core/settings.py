"""Bootstrap settings: the only place that reads the environment. Everything else is configured in the database."""

import json
import os
import secrets
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What a process must know before it can reach the database. Variables are named ANMEI_…, as the README lists."""

    model_config = SettingsConfigDict(env_prefix="ANMEI_", extra="ignore")

    database_url: str | None = None
    broker_url: str | None = None
    redis_url: str | None = None
    secret_key: SecretStr | None = None
    data_dir: Path = Path(".anmei")
    api_port: int = 8000
    mcp_port: int = 8001
    flower_port: int = 5555
    metrics_port: int = 9808
    bind: str = "127.0.0.1"
    log_level: str = "INFO"
    log_format: Literal["console", "json"] = "console"
    # The key a stdio session of the MCP server is opened with; the other transports take it from each request.
    mcp_key: SecretStr | None = None
    # Where traces are sent (OTLP over HTTP, http://host:4318), and of how many journeys; unset: none. The second name is
    # OpenTelemetry's own.
    otlp_endpoint: str | None = Field(
        default=None, validation_alias=AliasChoices("ANMEI_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    )
    trace_ratio: float = Field(default=1.0, ge=0, le=1)
    # Armed fault points, for crash tests only; see core/faults.py.
    faults: str = Field(default="", repr=False)

    def running(self) -> dict[str, Any]:
        """Return what `<data dir>/run.json` says of a stack that is up, or {}."""
        try:
            described: dict[str, Any] = json.loads(self.run_file.read_text())
        except FileNotFoundError:
            return {}
        return described

    @property
    def run_file(self) -> Path:
        return self.data_dir / "run.json"

    def require_database_url(self) -> str:
        """Return the database's URL: from the environment, or from the stack that is running in the data directory."""
        return self._require("database_url", "ANMEI_DATABASE_URL")

    def require_broker_url(self) -> str:
        return self._require("broker_url", "ANMEI_BROKER_URL")

    def require_redis_url(self) -> str:
        """Return the URL of the Redis that carries presence and fan-out; the broker's, where that is a Redis."""
        if self.redis_url:
            return self.redis_url
        broker_url = self.require_broker_url()
        if broker_url.startswith("redis+socket://"):
            # Celery's name for the database's number, and redis-py's.
            return "unix://" + broker_url.removeprefix("redis+socket://").replace("virtual_host=", "db=")
        if broker_url.startswith(("redis://", "rediss://")):
            return broker_url
        raise MissingSettingError("the broker is no Redis, so ANMEI_REDIS_URL must name one (redis://host:6379/0)")

    def require_secret_key(self) -> SecretStr:
        """Return the key under which secrets are encrypted; made on first use in the data directory where none is set."""
        if self.secret_key is not None:
            return self.secret_key
        path = self.data_dir / "secret.key"
        try:
            return SecretStr(path.read_text().strip())
        except FileNotFoundError:
            return _create_secret_key(path)

    def _require(self, name: str, variable: str) -> str:
        value = getattr(self, name) or self.running().get(name)
        if not value:
            raise MissingSettingError(
                f"{variable} is not set and no stack runs in {self.data_dir}: set it, or start `anmei up`"
            )
        return str(value)


class MissingSettingError(Exception):
    """A bootstrap setting is missing; the text says which and what to do."""


def _create_secret_key(path: Path) -> SecretStr:
    path.parent.mkdir(parents=True, exist_ok=True)
    key = secrets.token_urlsafe(32)
    # O_EXCL: of two processes starting at once, one writes the key and the other reads it.
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return SecretStr(path.read_text().strip())
    with os.fdopen(descriptor, "w") as file:
        file.write(key)
    return SecretStr(key)


def child_environment(values: Mapping[str, object]) -> dict[str, str]:
    """Return the environment of a child process: ours, with these variables set; None takes one out."""
    environment = dict(os.environ)
    for name, value in values.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = str(value)
    return environment


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return this process's bootstrap settings, read once."""
    return Settings()
