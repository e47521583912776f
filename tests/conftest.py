"""Namespaces are probed by making one; --require-emulation turns a skip for want of them into a failure."""

import os
import subprocess
from functools import cache

import pytest

from testbed.emulation import tools


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-emulation", action="store_true", help="fail, not skip, where namespaces cannot be made")
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes too")


def pytest_configure() -> None:
    os.environ["PATH"] = tools.search_path()  # an ordinary user's has no iptables


@cache
def _namespace_fault() -> str:
    """Return why this machine cannot make the namespaces of a world, or nothing."""
    probe = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--mount-proc", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if probe.returncode == 0 else probe.stderr.strip()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("slow") and not item.config.getoption("--slow"):
        pytest.skip("takes minutes: --slow")
    if item.get_closest_marker("emulation") and (fault := _namespace_fault()):
        if item.config.getoption("--require-emulation"):
            pytest.fail(f"namespaces cannot be made: {fault}")
        pytest.skip(f"namespaces cannot be made: {fault}")
