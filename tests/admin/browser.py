"""Headless Chromium, driven over its own protocol: no driver program, no further package."""

import base64
import json
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

from tests.support.waiting import wait_until

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ANSWER_SECONDS = 20.0


def find_chromium() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One browser with one tab. Records every request it makes, and every error of a page."""

    def __init__(self, executable: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="anmei-chromium-")
        self._process = subprocess.Popen(
            [
                executable,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--no-first-run",
                "--hide-scrollbars",
                "--remote-debugging-port=0",
                "--remote-allow-origins=*",
                f"--user-data-dir={self._folder}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._number = 0
        self._events: list[dict[str, Any]] = []
        self._opened = ExitStack()
        self._socket = self._opened.enter_context(self._connect())
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()
        self._process.terminate()
        self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its result; events that come meanwhile are kept."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=ANSWER_SECONDS))
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message['error']}"
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def size(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        """Go there and wait until the page has loaded."""
        self._loading()
        self.send("Page.navigate", url=url)
        self._wait_loaded()

    def click(self, selector: str) -> None:
        """Click something that leads to another page, and wait for it."""
        self._loading()
        self.run(f"document.querySelector({json.dumps(selector)}).click()")
        self._wait_loaded()

    def fill(self, selector: str, text: str) -> None:
        self.run(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(text)}")

    def run(self, expression: str) -> Any:
        """Return the value of an expression; the page's policy does not forbid it, as it comes from outside the page."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def text(self, selector: str = "body") -> str:
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def path(self) -> str:
        return str(self.run("location.pathname"))

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        options: dict[str, Any] = {"format": "png"}
        if whole:
            content = self.send("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": content["width"], "height": min(content["height"], 4000), "scale": 1}
            options |= {"captureBeyondViewport": True, "clip": clip}
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", **options)["data"]))

    def _loading(self) -> None:
        self._events.clear()

    def _wait_loaded(self) -> None:
        while not any(one["method"] == "Page.loadEventFired" for one in self._events):
            self._note(json.loads(self._socket.recv(timeout=ANSWER_SECONDS)))

    def _note(self, message: dict[str, Any]) -> None:
        method, parameters = message.get("method", ""), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(parameters["exceptionDetails"].get("text")))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
        self._events.append(message)

    def _connect(self) -> ClientConnection:
        port_file = Path(self._folder) / "DevToolsActivePort"
        lines = wait_until(lambda: port_file.exists() and port_file.read_text().splitlines(), timeout_seconds=20)
        port = lines[0]  # type: ignore[index] # an empty file is not taken
        with urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            tabs = json.load(answer)
        url = next(one["webSocketDebuggerUrl"] for one in tabs if one["type"] == "page")
        assert urlsplit(url).hostname == "127.0.0.1"
        return connect(url, max_size=64 * 1024 * 1024)
