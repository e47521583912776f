"""What the plan writes for other programs is taken by them, to the letter: BIRD's configurations, iptables' rules."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from testbed import catalogue, run
from testbed.plan import make_plan

pytestmark = pytest.mark.emulation
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def program(name: str) -> str:
    found = shutil.which(name, path=_PATH)
    assert found is not None, f"{name} is not installed"
    return found


@cache
def texts(kind: str) -> tuple[str, ...]:
    """Return every different BIRD configuration or iptables text of the shipped scenarios and their controls."""
    paths = catalogue.choose([], everything=True, table=None)
    items = [*run.read_items(paths), *run.read_controls(paths)]
    plans = [make_plan(item.spec, duration_ns=1, seed=1) for item in items]
    found = [getattr(node, kind) for plan in plans for node in plan.nodes]
    return tuple(dict.fromkeys(text for text in found if text is not None))


def bird_refusal(configuration: str, directory: Path) -> str:
    """Return what BIRD has against a configuration, or nothing."""
    file = directory / "bird.conf"
    file.write_text(configuration, encoding="utf-8")
    checked = subprocess.run([program("bird"), "-p", "-c", file], capture_output=True, text=True, check=False)
    return "" if checked.returncode == 0 else checked.stderr or f"exit status {checked.returncode}"


def printed_back(rules: str) -> str:
    """Load *rules* in a network namespace of their own and return what iptables-save prints, comments aside."""
    script = f"{program('iptables-restore')} && {program('iptables-save')}"
    command = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", script]
    loaded = subprocess.run(command, input=rules, capture_output=True, text=True, check=True)
    return "".join(line for line in loaded.stdout.splitlines(keepends=True) if not line.startswith("#"))


def test_bird_takes_every_configuration(tmp_path: Path) -> None:
    assert len(texts("bird")) > 17
    for configuration in texts("bird"):
        assert bird_refusal(configuration, tmp_path) == "", configuration


def test_bird_refuses_a_spoilt_configuration(tmp_path: Path) -> None:
    assert "syntax error" in bird_refusal(texts("bird")[0].replace("accept;", "accept", 1), tmp_path)


def test_iptables_prints_every_ruleset_back_as_it_is_written() -> None:
    assert len(texts("iptables")) > 6
    for rules in texts("iptables"):
        assert printed_back(rules) == rules


def test_a_ruleset_written_in_another_way_is_not_printed_back_so() -> None:
    rules = texts("iptables")[0].replace("--ctstate RELATED,ESTABLISHED", "--ctstate ESTABLISHED,RELATED")
    assert rules != texts("iptables")[0]
    assert printed_back(rules) == texts("iptables")[0]
