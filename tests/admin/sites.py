"""The application on a port of its own, and a browser signed in to it. Fixtures, taken over by the conftest."""

import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from services import users
from services.permissions import Role
from tests.admin.browser import Browser, find_chromium
from tests.support.waiting import wait_until

BASE = "https://testserver"
PASSWORD = "a long enough password"


@pytest.fixture(scope="module")
def site(app: FastAPI) -> Iterator[str]:
    """The application on a port of its own."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, timeout_seconds=20)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    executable = find_chromium()
    assert executable is not None
    with Browser(executable) as browser:
        yield browser


BrowserFor = Callable[..., Browser]


@pytest.fixture
def browser_for(chromium: Browser, site: str) -> Iterator[BrowserFor]:
    """Sign the browser in with these roles; afterwards: nothing left the origin, nothing failed on a page."""

    def signed_in(*roles: Role) -> Browser:
        users.create_staff_user("browser", SecretStr(PASSWORD), list(roles), actor="test")
        chromium.open(f"{site}/admin/login")
        chromium.fill("#f-username", "browser")
        chromium.fill("#f-password", PASSWORD)
        chromium.click("main form button")
        assert chromium.path() != "/admin/login"
        return chromium

    chromium.send("Network.clearBrowserCookies")
    chromium.send("Emulation.setScriptExecutionDisabled", value=False)
    chromium.size(1280)
    chromium.requests.clear()
    chromium.errors.clear()
    yield signed_in
    # Polling and sockets end with the page, before the rows they ask for do.
    chromium.open("about:blank")
    hosts = {urlsplit(url).netloc for url in chromium.requests if not url.startswith(("data:", "about:"))}
    assert hosts <= {urlsplit(site).netloc}
    assert chromium.errors == []


@pytest.fixture
def browser(browser_for: BrowserFor) -> Browser:
    return browser_for(Role.ADMIN)
