"""Parts of the world that need no namespace: tools, agents' lines, the journal, netlink messages, the prompt."""

import asyncio
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from testbed.emulation import agents, netlink, tools
from testbed.emulation.agents import Agent
from testbed.emulation.evidence import Journal
from testbed.emulation.prompt import addressed
from testbed.errors import MissingTool
from testbed.plan.model import Job

JOB = Job(name="alice", node="alice", program="client", arguments={}, stage="party")


def settings(root: Path, **values: int) -> Path:
    for name, value in {"user.max_user_namespaces": 100, "user.max_net_namespaces": 100, **values}.items():
        path = root / name.replace(".", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return root


def test_a_machine_that_allows_namespaces_has_no_forbidding_setting(tmp_path: Path) -> None:
    assert tools._forbidding_setting(settings(tmp_path)) is None
    assert tools._apparmor_restriction(settings(tmp_path)) is None


def test_a_limit_of_no_namespaces_is_named_with_its_mend(tmp_path: Path) -> None:
    fault = tools._forbidding_setting(settings(tmp_path, **{"user.max_user_namespaces": 0}))
    assert fault == ("user.max_user_namespaces=0", "sysctl -w user.max_user_namespaces=15000")


def test_debians_switch_binds_ordinary_users_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = settings(tmp_path, **{"kernel.unprivileged_userns_clone": 0})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    fault = tools._forbidding_setting(root)
    assert fault == ("kernel.unprivileged_userns_clone=0", "sysctl -w kernel.unprivileged_userns_clone=1")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert tools._forbidding_setting(root) is None


def test_a_kernel_without_user_namespaces_is_told(tmp_path: Path) -> None:
    fault = tools._forbidding_setting(tmp_path)
    assert fault is not None
    assert "CONFIG_USER_NS" in fault[0]


def test_ubuntus_restriction_is_named(tmp_path: Path) -> None:
    root = settings(tmp_path, **{"kernel.apparmor_restrict_unprivileged_userns": 1})
    assert tools._apparmor_restriction(root) == (
        "kernel.apparmor_restrict_unprivileged_userns=1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    )


def test_a_missing_program_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "search_path", lambda: str(tmp_path))
    with pytest.raises(MissingTool, match=r"^program bird is missing; mend: apt-get install bird2$"):
        tools.check_tools(["bird"])


def test_administrators_folders_are_searched_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert tools.search_path() == "/usr/bin:/bin:/usr/sbin:/sbin"


@pytest.fixture
def agent() -> Agent:
    return Agent(JOB, os.open(os.devnull, os.O_WRONLY), lambda name, line: None)


def test_an_agent_settles_by_being_ready_or_by_failing(agent: Agent) -> None:
    assert not agent.is_settled
    agent.take({"type": "error", "what": "401"})
    assert agent.is_settled
    assert not agent.is_working
    assert agent.failure == "401"


def test_an_agent_that_is_ready_works_until_it_ends(agent: Agent) -> None:
    agent.take({"type": "ready"})
    assert agent.is_working
    agent.ended(0)
    assert not agent.is_working


def test_calls_are_followed_by_name(agent: Agent) -> None:
    agent.take({"type": "event", "event": "established", "call": "one"})
    agent.take({"type": "event", "event": "terminated", "call": "one", "cause": "hangup"})
    assert agent.established == {"one"}
    assert agent.terminated == {"one": "hangup"}


def test_a_death_says_how_and_why(agent: Agent) -> None:
    agent.pid = 42
    agent.ended(-9)
    assert agents.death_of(agent) == "agent alice (process 42) was killed by signal 9"
    agent.failure = "OSError: no"
    agent.exit_status = 1
    assert agents.death_of(agent) == "agent alice (process 42) ended with status 1: OSError: no"


def test_waiting_for_agents_ends_with_the_fact_or_names_who_lacks_it(agent: Agent) -> None:
    async def wait(limit_s: float) -> list[Agent]:
        asyncio.get_running_loop().call_soon(agent.take, {"type": "event", "event": "ice"})
        return await agents.wait_for([agent], lambda x: x.is_settled, limit_s=limit_s)

    assert asyncio.run(wait(0.01)) == [agent]
    agent.take({"type": "ready"})
    assert asyncio.run(wait(5)) == []


def test_a_journal_keeps_all_but_progress(tmp_path: Path) -> None:
    out, into = os.pipe()
    journal = Journal(into, tmp_path)
    journal.progress("build", "2 nodes")
    journal.agent("alice", {"type": "event", "event": "registered", "t_ns": 5})
    journal.error("two\nlines")
    journal.done()
    journal.close()
    os.close(into)
    with os.fdopen(out) as stream:
        told: list[dict[str, Any]] = [json.loads(line) for line in stream]
    assert [x["type"] for x in told] == ["progress", "agent", "error", "done"]
    assert told[1] == {"type": "agent", "agent": "alice", "line": "event", "event": "registered", "t_ns": 5}
    assert told[2]["text"] == "two lines"
    kept = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert kept == told[1:]


def test_a_journal_on_a_full_disk_says_so_once_and_goes_on_telling(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").symlink_to("/dev/full")
    out, into = os.pipe()
    journal, faults = Journal(into, tmp_path), list[str]()
    journal.on_fault = faults.append
    for number in range(2):
        journal.agent("alice", {"type": "event", "event": "registered", "t_ns": number})
    journal.close()
    os.close(into)
    with os.fdopen(out) as stream:
        assert [json.loads(line)["t_ns"] for line in stream] == [0, 1]
    assert faults == [f"{tmp_path}/events.jsonl: No space left on device"]


def test_a_route_is_encoded_as_the_kernel_reads_it() -> None:
    request = netlink.add_route("10.1.0.0/16", "10.0.0.2", 3)
    length, kind, flags = struct.unpack_from("=IHH", request.message)
    assert (length, kind) == (len(request.message), 24)
    assert flags == 0x1 | 0x4 | 0x200 | 0x400
    family, bits, *_ = request.message[16:28]
    assert (family, bits) == (2, 16)
    assert b"\x0a\x01\x00\x00" in request.message
    assert b"\x0a\x00\x00\x02" in request.message
    assert request.what == "route 10.1.0.0/16 via 10.0.0.2"


def test_messages_are_split_by_their_own_lengths() -> None:
    one = struct.pack("=IHHII", 20, 2, 0, 7, 0) + b"\0\0\0\0"
    two = struct.pack("=IHHII", 16, 3, 0, 8, 0)
    assert [(kind, number) for kind, number, _ in netlink._messages(one + two)] == [(2, 7), (3, 8)]


class _Network(dict[str, Any]):
    """Names to nodes, as Mininet's network is at its prompt."""


class _Host:
    def __init__(self, address: str | None) -> None:
        self._address = address

    def IP(self) -> str | None:
        return self._address


@pytest.mark.parametrize(
    ("typed", "run"),
    [
        ("ping -c1 bob", "ping -c1 10.0.4.2"),
        ("tcpdump -i bob", "tcpdump -i bob"),
        ("ip route get bob", "ip route get 10.0.4.2"),
        ("ip addr show dev bob", "ip addr show dev bob"),
        ("arping lan-a", "arping lan-a"),
    ],
)
def test_names_at_the_prompt_stand_for_addresses_but_not_for_interfaces(typed: str, run: str) -> None:
    network = _Network({"bob": _Host("10.0.4.2"), "lan-a": _Host(None)})
    assert " ".join(addressed(typed.split(" "), network)) == run  # type: ignore[arg-type]
