"""A world is built, leaves its files, breaks loudly, and is gone when anything of it dies."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from testbed.emulation.world import World
from testbed.errors import RigError
from testbed.plan.model import Job, Plan, Route

from .small_world import small_plan

pytestmark = pytest.mark.emulation
ROOT = Path(__file__).parents[2]
GONE_WITHIN_S = 1.0
BUSY_S = 2.0
"Allowed on top for a machine with other work."


async def play(plan: Plan, directory: Path) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    async with World.start(plan, directory=directory, on_event=said.append) as world:
        await world.finished()
    return said


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def replaced(plan: Plan, node: str, **changes: Any) -> Plan:
    """Return *plan* with one node changed."""
    nodes = tuple(x.model_copy(update=changes) if x.name == node else x for x in plan.nodes)
    return plan.model_copy(update={"nodes": nodes})


def test_a_world_leaves_all_its_files(tmp_path: Path) -> None:
    said = asyncio.run(play(small_plan(), tmp_path))
    stages = [x["stage"] for x in said if x["type"] == "progress"]
    assert list(dict.fromkeys(stages)) == [
        "build", "readback", "capture", "services", "routing", "register", "hangup", "evidence",
    ]  # fmt: skip
    assert said[-1]["type"] == "done"
    emulation = read_json(tmp_path / "emulation.json")
    assert emulation["readback"]["facts"] > 30
    assert emulation["capture"]["r1-r2"]["packets"] > 0
    assert emulation["capture"]["r1-r2"]["dropped"] == 0
    assert emulation["versions"]["bird"].startswith("2.")
    fw = read_json(tmp_path / "firewalls.json")["fw"]
    assert [x["rule"] for x in fw["rules"]] == ["invalid", "invalid", "established", "sip", "default", "default"]
    assert fw["reverse_path_filter_drops"] == 0
    assert (tmp_path / "dropped.pcapng").stat().st_size > 0
    recorded = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert recorded == [x for x in said if x["type"] != "progress"]


def test_a_link_that_is_not_up_is_built_down(tmp_path: Path) -> None:
    plan = small_plan(down=("fw-bob",))
    said = asyncio.run(play(plan, tmp_path))
    assert said[-1]["type"] == "done"
    assert read_json(tmp_path / "emulation.json")["capture"]["fw-bob"] == {"packets": 0, "dropped": 0}


def test_a_bird_that_cannot_read_its_configuration_is_named(tmp_path: Path) -> None:
    plan = replaced(small_plan(), "r1", bird="router id 10.0.2.1;\nprotocol nonsense {}\n")
    with pytest.raises(RigError, match=r"BIRD in r1 died: .*r1\.conf:2:\d+ syntax error"):
        asyncio.run(play(plan, tmp_path))


def test_a_rule_that_iptables_refuses_is_named(tmp_path: Path) -> None:
    plan = replaced(small_plan(), "fw", iptables="*filter\n-A FORWARD -j NOWHERE\nCOMMIT\n")
    with pytest.raises(RigError, match=r"fw: iptables-restore failed \(exit status \d+\): .*"):
        asyncio.run(play(plan, tmp_path))


def test_a_route_that_the_kernel_refuses_is_named(tmp_path: Path) -> None:
    plan = replaced(small_plan(), "bob", routes=(Route(prefix="0.0.0.0/0", via="10.77.0.1", interface="fw"),))
    with pytest.raises(RigError, match=r"bob: route 0\.0\.0\.0/0 via 10\.77\.0\.1: Network is unreachable"):
        asyncio.run(play(plan, tmp_path))


def test_a_sysctl_that_does_not_exist_is_named(tmp_path: Path) -> None:
    plan = replaced(small_plan(), "bob", sysctls={"net.ipv4.no_such_thing": "1"})
    with pytest.raises(RigError, match=r"bob: sysctl net\.ipv4\.no_such_thing=1: No such file"):
        asyncio.run(play(plan, tmp_path))


def test_an_unknown_program_is_named(tmp_path: Path) -> None:
    job = Job(name="x", node="bob", program="nonsense", arguments={}, stage="party")
    with pytest.raises(RigError, match=r"agent x: .*no agent program 'nonsense'"):
        asyncio.run(play(small_plan(jobs=(job,)), tmp_path))


def test_parallel_worlds_do_not_disturb_each_other(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()

    async def both() -> list[list[dict[str, Any]]]:
        return await asyncio.gather(*(play(small_plan(), tmp_path / name) for name in ("one", "two")))

    for said in asyncio.run(both()):
        assert said[-1]["type"] == "done"
    packets = [read_json(tmp_path / x / "emulation.json")["capture"]["r1-r2"]["packets"] for x in ("one", "two")]
    assert all(packets)


# Death


@contextmanager
def conductor(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that plays the small world, whose call never ends."""
    command = [sys.executable, "-m", "tests.emulation.play_small", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def until_in_call(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        assert event["type"] != "raised", event
        if event.get("stage") == "call":
            return
    pytest.fail("the world ended before its call")


def wait_until(fact: Callable[[], bool], *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def descendants(process: subprocess.Popen[str], *names: str) -> list[psutil.Process]:
    everyone = psutil.Process(process.pid).children(recursive=True)
    return [x for x in everyone if not names or any(name in " ".join([x.name(), *x.cmdline()]) for name in names)]


VICTIMS = {
    "the unshare that keeps the world": ["unshare"],
    "PID 1": ["testbed.emulation.stage"],
    "a BIRD": ["bird -f"],
    "the wire": ["wire_process"],
    "the capture": ["capture_process"],
    "the forkserver": ["agents.forkserver"],
    "connection tracking": ["conntrack -E"],
}


@pytest.mark.parametrize("victim", VICTIMS)
def test_killing_a_process_of_the_world_ends_all_of_it(victim: str, tmp_path: Path) -> None:
    with conductor(tmp_path) as process:
        until_in_call(process)
        everyone = descendants(process)
        assert len(everyone) >= 7
        chosen = descendants(process, *VICTIMS[victim])
        assert chosen, f"{victim} is not there"
        target = chosen[0] if victim != "PID 1" else next(x for x in chosen if x.name() != "unshare")
        target.send_signal(signal.SIGKILL)
        assert wait_until(lambda: all(map(is_gone, everyone)), within_s=GONE_WITHIN_S + BUSY_S)
        said, _ = process.communicate(timeout=10)
        assert process.returncode == 4
        assert json.loads(said.splitlines()[-1])["type"] == "raised"


def test_killing_an_agent_is_an_error_that_names_it(tmp_path: Path) -> None:
    with conductor(tmp_path) as process:
        until_in_call(process)
        [forkserver] = [x for x in descendants(process, "agents.forkserver") if x.children()]
        everyone = descendants(process)
        forkserver.children()[0].send_signal(signal.SIGKILL)
        assert wait_until(lambda: all(map(is_gone, everyone)), within_s=GONE_WITHIN_S + BUSY_S)
        said, _ = process.communicate(timeout=10)
        assert "agent bob (process" in said
        assert "was killed by signal 9" in json.loads(said.splitlines()[-1])["text"]


def test_killing_the_conductor_ends_the_world(tmp_path: Path) -> None:
    with conductor(tmp_path) as process:
        until_in_call(process)
        everyone = descendants(process)
        process.kill()
        assert wait_until(lambda: all(map(is_gone, everyone)), within_s=GONE_WITHIN_S + BUSY_S)


def test_an_interrupted_world_saves_its_evidence_and_ends(tmp_path: Path) -> None:
    with conductor(tmp_path) as process:
        until_in_call(process)
        everyone = descendants(process)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=10)
        assert time.monotonic() - began < 2 + BUSY_S
        assert all(map(is_gone, everyone))
        assert json.loads(said.splitlines()[-1])["text"] == "stopped before the scenario was over"
    assert read_json(tmp_path / "emulation.json")["capture"]["r1-r2"]["packets"] > 0
    assert "fw" in read_json(tmp_path / "firewalls.json")
