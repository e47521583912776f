"""A stock program as an agent: a real dnsmasq that answers what the plan wrote for it, and whose death is an error."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dns.asyncquery
import dns.message
import pytest

from agents import stock as program
from agents.child import ChildFailure
from agents.names import NameFailure, Names
from agents.sip.errors import DomainNotFound
from agents.sip.hop import Domain, Hop
from testbed.plan import stock
from testbed.plan.model import DnsRecord, NameServer

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        shutil.which("dnsmasq", path="/usr/sbin:/usr/bin:/sbin") is None, reason="needs dnsmasq (package dnsmasq-base)"
    ),
]

# A loopback address of this process alone, so that two test runs at once do not meet.
ADDRESS = f"127.19.{os.getpid() >> 8 & 255}.{os.getpid() % 254 + 1}"
PORT = 35_353
SERVER = NameServer(
    name="names",
    node="n",
    address=ADDRESS,
    clients=(),
    forward=None,
    zones=("example",),
    records=(
        DnsRecord(name="_sip._tcp.contoso.example", kind="SRV", target="fe.contoso.example", port=5060),
        DnsRecord(name="_sipfederationtls._tcp.contoso.example", kind="SRV", target="fe.contoso.example", port=5061),
        DnsRecord(name="fe.contoso.example", kind="A", target="192.0.2.7"),
        DnsRecord(name="fabrikam.example", kind="A", target="192.0.2.9"),
    ),
)


def job(**changed: Any) -> dict[str, Any]:
    arguments = stock.dnsmasq(SERVER, forward_to=None)
    files = {name: text.replace("port=53\n", f"port={PORT}\n") for name, text in arguments["files"].items()}
    return {**arguments, "files": files, "ready": [{"address": ADDRESS, "port": PORT}], **changed}


class Running:
    """The agent at work in this process."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._stop = asyncio.Event()
        self.task = asyncio.create_task(program.main(arguments, self._commands(), self._said.put_nowait))

    async def _commands(self) -> AsyncIterator[dict[str, Any]]:
        await self._stop.wait()
        yield {"do": "stop"}

    async def line(self) -> dict[str, Any]:
        """Return what it says next; raise what it dies of."""
        line = asyncio.create_task(self._said.get())
        await asyncio.wait({line, self.task}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        if line.done():
            return line.result()
        line.cancel()
        self.task.result()
        raise AssertionError("it ended and said nothing")

    async def stop(self) -> None:
        self._stop.set()
        await self.task


def only_child() -> int:
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    assert len(children) == 1
    return int(children[0])


async def ask(name: str, kind: str) -> dns.message.Message:
    return await dns.asyncquery.udp(dns.message.make_query(name, kind), ADDRESS, timeout=5, port=PORT)


def test_dnsmasq_answers_the_records_of_the_plan_and_nothing_else() -> None:
    async def scenario() -> None:
        running = Running(job())
        assert (await running.line())["type"] == "ready"
        server = await ask("_sip._tcp.contoso.example", "SRV")
        assert [str(each) for each in server.answer[0]] == ["0 0 5060 fe.contoso.example."]
        assert [str(each) for each in (await ask("fe.contoso.example", "A")).answer[0]] == ["192.0.2.7"]
        assert (await ask("_sip._udp.contoso.example", "SRV")).rcode() == dns.rcode.NXDOMAIN
        await running.stop()
        assert (await running.line())["type"] == "result"

    asyncio.run(scenario())


def test_the_death_of_the_program_ends_the_agent_with_its_last_words() -> None:
    async def scenario() -> None:
        running = Running(job())
        assert (await running.line())["type"] == "ready"
        os.kill(only_child(), signal.SIGKILL)
        with pytest.raises(ChildFailure, match="dnsmasq ended with status -9: dnsmasq:"):
            await running.line()

    asyncio.run(scenario())


def test_a_program_that_rejects_its_configuration_never_counts_as_ready() -> None:
    async def scenario() -> None:
        running = Running(job(files={"dnsmasq.conf": "no-such-option\n"}))
        with pytest.raises(ChildFailure, match=r"dnsmasq ended with status 1: .*bad option"):
            await running.line()

    asyncio.run(scenario())


def test_a_program_that_takes_no_connections_is_named_after_the_limit() -> None:
    async def scenario() -> None:
        silent = program.StockProgram(program.Settings.from_job(job(ready=[{"address": ADDRESS, "port": 9}])))
        with pytest.raises(ChildFailure, match=r"not within 0.2 s: connections to .*:9: dnsmasq: "):
            await silent.start(limit_s=0.2)
        await silent.stop()

    asyncio.run(scenario())


def test_a_client_finds_its_server_by_srv_then_a_and_asks_once() -> None:
    async def scenario() -> None:
        running, said = Running(job()), list[dict[str, Any]]()
        assert (await running.line())["type"] == "ready"
        names = Names(ADDRESS, said.append, port=PORT)
        assert await names.sip_server("contoso.example", "tcp") == Hop("192.0.2.7", 5060, "tcp")
        assert await names.address("fe.contoso.example") == await names.address("192.0.2.7") == "192.0.2.7"
        assert [(event["event"], event["name"], event["record"]) for event in said] == [
            ("resolved", "_sip._tcp.contoso.example", "SRV"),
            ("resolved", "fe.contoso.example", "A"),
        ]
        await running.stop()
        assert await names.sip_server("contoso.example", "tcp") == Hop("192.0.2.7", 5060, "tcp")

    asyncio.run(scenario())


def test_a_domain_without_srv_records_is_its_own_server_and_one_without_any_fails_at_once() -> None:
    async def scenario() -> None:
        running, said = Running(job()), list[dict[str, Any]]()
        assert (await running.line())["type"] == "ready"
        names = Names(ADDRESS, said.append, port=PORT)
        assert await names.sip_server("fabrikam.example", "udp") == Hop("192.0.2.9", 5060, "udp")
        with pytest.raises(NameFailure, match=r"name not resolved: nowhere.example \(A\), .*: there is no such name"):
            await names.sip_server("nowhere.example", "tcp")
        with pytest.raises(NameFailure, match="REFUSED"):
            await names.address("host.invalid")
        assert [event["name"] for event in said if event["event"] == "not-resolved"] == [
            "nowhere.example",
            "host.invalid",
        ]
        await running.stop()

    asyncio.run(scenario())


def test_a_server_of_another_organisation_is_found_by_its_federation_record_alone() -> None:
    async def scenario() -> None:
        running, said = Running(job()), list[dict[str, Any]]()
        assert (await running.line())["type"] == "ready"
        names = Names(ADDRESS, said.append, port=PORT)
        found = await names.federated_server(Domain("contoso.example", "tls"))
        assert found == Hop("192.0.2.7", 5061, "tls", "contoso.example")
        with pytest.raises(DomainNotFound, match=r"_sip._tcp.fabrikam.example \(SRV\), .*: there is no such record"):
            await names.federated_server(Domain("fabrikam.example", "tcp"))
        assert said[-1]["event"] == "not-resolved"
        await running.stop()

    asyncio.run(scenario())


def test_a_name_server_that_is_not_there_is_a_failure_within_the_limit() -> None:
    async def scenario() -> None:
        names = Names(ADDRESS, lambda message: None, port=PORT, limit_s=0.3)
        with pytest.raises(
            NameFailure, match=r"_sip._tcp.contoso.example \(SRV\), asked of .*: no answer within 0.3 s"
        ):
            await names.sip_server("contoso.example", "tcp")

    asyncio.run(scenario())
