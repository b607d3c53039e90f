"""The worker side's metrics server, through its port."""

import socket
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from services import figures
from worker.metrics_server import MetricsServer, serve


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    running = serve(0, "127.0.0.1")
    yield running
    running.close()


def ask(server: MetricsServer, method: str, path: str) -> tuple[int, str | None, bytes]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type"), answer.read()
    finally:
        connection.close()


def test_the_page_is_the_one_every_process_serves(server: MetricsServer) -> None:
    figures.forget()
    status, content_type, body = ask(server, "GET", "/metrics")
    assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"\nregistration_journeys_total{" in body
    assert body == figures.render()


def test_other_paths_and_methods_are_refused(server: MetricsServer) -> None:
    assert ask(server, "GET", "/healthz")[0::2] == (200, b"ok\n")
    assert ask(server, "HEAD", "/metrics")[0::2] == (200, b"")
    assert ask(server, "GET", "/")[0] == 404
    assert ask(server, "POST", "/metrics")[0] == 405


def test_a_taken_port_is_refused_and_a_closed_server_gives_its_port_back(server: MetricsServer) -> None:
    with pytest.raises(OSError, match="in use"):
        serve(server.port, "127.0.0.1")
    server.close()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", server.port))


def test_totals_are_rolled_up_without_any_scrape(monkeypatch: pytest.MonkeyPatch, database: str) -> None:
    import psycopg

    from tests.support.waiting import wait_until

    monkeypatch.setattr(figures, "ROLL_SECONDS", 0.05)
    running = serve(0, "127.0.0.1")
    try:
        with psycopg.connect(database, autocommit=True) as connection:
            wait_until(lambda: connection.execute("SELECT count(*) FROM figure_sources").fetchone() != (0,))
    finally:
        running.close()
