"""The embedded servers, started as the launcher starts them."""

import os
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest
import redis

from tests.support.waiting import wait_until
from worker.embedded import EmbeddedServerError, prepare, remove_socket_directory
from worker.embedded.accounts import CAP_DAC_READ_SEARCH
from worker.processes import Account, Identity, tied


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A directory that PostgreSQL's own account cannot reach without help when the tests run as root."""
    return tmp_path / ("deep" * 30) / "data"


def test_servers_serve_on_private_unix_sockets_below_a_long_and_closed_path(data_dir: Path) -> None:
    with prepare(data_dir, durable=False) as embedded:
        assert embedded.database_url
        assert embedded.broker_url
        with psycopg.connect(embedded.database_url) as connection:
            row = connection.execute(
                "SELECT current_database(), current_setting('listen_addresses'), current_setting('max_connections')"
            ).fetchone()
        assert row == ("anmei", "", "200")
        client = redis.Redis.from_url("unix://" + embedded.broker_url.removeprefix("redis+socket://"))
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.close()
        for child in embedded.socket_directory.iterdir():
            assert child.stat().st_mode & 0o077 == 0
    assert not embedded.socket_directory.exists()


def test_durable_servers_keep_their_data_over_a_kill(data_dir: Path) -> None:
    embedded = prepare(data_dir)
    assert embedded.postgres
    assert embedded.redis
    children = [server.start() for server in embedded.servers]
    for server, child in zip(embedded.servers, children, strict=True):
        server.wait_until_ready(child)
    embedded.create_database()
    url = embedded.postgres.url
    with psycopg.connect(url) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
        connection.execute("CREATE TABLE kept AS SELECT 7 AS seven")
    for child in children:
        child.kill()
        child.wait()
    embedded.remove_sockets()

    with prepare(data_dir) as again, psycopg.connect(str(again.database_url)) as connection:
        assert connection.execute("SELECT seven FROM kept").fetchone() == (7,)


def test_servers_end_when_the_process_that_started_them_is_killed(data_dir: Path) -> None:
    pid_read, pid_write = os.pipe()
    starter = os.fork()
    if starter == 0:
        embedded = prepare(data_dir, durable=False)
        children = [server.start() for server in embedded.servers]
        for server, child in zip(embedded.servers, children, strict=True):
            server.wait_until_ready(child)
        os.write(pid_write, " ".join([str(embedded.socket_directory), *(str(c.pid) for c in children)]).encode())
        signal.pause()
        os._exit(1)
    sockets, *pids = os.read(pid_read, 4096).decode().split()
    identities = [Identity.of(int(pid)) for pid in pids]
    assert len(identities) == 2
    assert all(identity.process() for identity in identities)

    os.kill(starter, signal.SIGKILL)
    os.waitpid(starter, 0)

    wait_until(lambda: not any(identity.process() for identity in identities))
    remove_socket_directory(Path(sockets))


def test_a_server_that_cannot_start_says_why(data_dir: Path) -> None:
    with prepare(data_dir, with_redis=False, durable=False):
        pass
    (data_dir / "postgres" / "PG_VERSION").write_text("9.1\n")

    with pytest.raises(EmbeddedServerError, match="incompatible"), prepare(data_dir, with_redis=False):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")
@pytest.mark.parametrize(("capability", "passes"), [(CAP_DAC_READ_SEARCH, 0), (None, 1)])
def test_an_account_passes_a_closed_directory_only_with_the_capability(
    tmp_path: Path, capability: int | None, passes: int
) -> None:
    program = tmp_path / "closed" / "program"
    program.parent.mkdir(mode=0o700)
    program.touch(mode=0o755)
    account = Account(65534, 65534, capability)
    # access(2), because that is how PostgreSQL looks for its own binaries.
    child = subprocess.run(tied(["/bin/sh", "-c", f"test -x {program}"], account=account), env={}, check=False)
    assert child.returncode == passes
