"""A running studio, for the tests that meet it from outside."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Two processes with a thread for each core would be in each other's way. (torch is not imported yet; a studio inherits it.)
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def studio():
    """The address of a studio started as a person would start it."""
    yield from started()


@pytest.fixture(scope="session")
def studio_with_mcp():
    """The address of a studio that also serves MCP."""
    yield from started("--mcp")


def started(*options):
    """A studio in a process of its own, until this ends: its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    said = tempfile.TemporaryFile()  # noqa: SIM115 (a pipe that nobody reads would fill up)
    process = subprocess.Popen(
        [sys.executable, "app.py", "--port", str(port), *options], cwd=ROOT, stdout=said, stderr=subprocess.STDOUT
    )
    address = f"http://127.0.0.1:{port}"
    for _ in range(720):
        try:
            urllib.request.urlopen(address, timeout=5).close()
            break
        except OSError:
            if process.poll() is not None:
                said.seek(0)
                pytest.fail(said.read().decode())
            time.sleep(0.25)
    try:
        yield address
    finally:
        process.kill()
