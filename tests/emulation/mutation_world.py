"""In a world of its own: one network, mutated again and again, with probes sent after each mutation.

Run as `python -m tests.emulation.mutation_world DIRECTORY FIRST_SEED COUNT`; it leaves the captures of a run there, and
mutations.json: each mutation with its time and its probes. `test_mutations` holds them against the prediction.
"""

import asyncio
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from testbed import catalogue
from testbed.emulation import commands, mounts, routing
from testbed.emulation.evidence import Journal
from testbed.emulation.rig import Rig
from testbed.emulation.sysctls import write_sysctls
from testbed.plan import make_plan
from testbed.plan.addresses import own_address
from testbed.plan.adjacency import Adjacency
from testbed.plan.diagnosis import pairs
from testbed.plan.exchange import Opening, exchange
from testbed.plan.make import lasting_routes
from testbed.plan.model import Plan
from testbed.plan.walk import Packet, Simulator
from testbed.spec import Spec
from testbed.spec.reader import read_spec
from testbed.topology import Topology

from .mutations import mutation
from .probes import Clients, Probe, Servers

SCENARIO: Final = "online/p2p-internal"
_FIRST_PORT: Final = 10_000
_PORTS_A_ROUND: Final = 200
_SETTLING_LIMIT_S: Final = 45.0
"Longer than the hold time: a session over a firewall whose cable is pulled ends no sooner."
_QUIET_S: Final = 0.15
"Longer than a route takes to be told through the whole network: BGP may try what is gone already on its way."
_ANSWER_LIMIT_S: Final = 2.0
_UNDER_WAY_S: Final = 0.2
"No way through the network takes this long: what has not been dropped or answered by then is not on its way."


def base_spec() -> Spec:
    """Return the scenario that the network is taken from."""
    return read_spec(catalogue.find_scenario(SCENARIO))


def bare_plan(spec: Spec, topology: Topology) -> Plan:
    """Return the plan of *topology*, without programs and calls."""
    plan = make_plan(replace(spec, topology=topology), duration_ns=1, seed=1)
    return plan.model_copy(update={"jobs": (), "calls": (), "predicted": ()})


def probes_of(topology: Topology, first_port: int) -> list[tuple[Probe, tuple[Any, Any]]]:
    """Return a probe for every pair of client and service, with the walks predicted for both its directions."""
    simulator = Simulator(topology, {name: dict(node.sysctl) for name, node in topology.nodes.items()})
    adjacency = Adjacency(topology)
    found = []
    for number, pair in enumerate(pairs(topology)):
        address = own_address(topology, adjacency, pair.node)
        source = simulator.source_for(pair.client, address)
        if source is not None and pair.protocol != "icmp":
            probe = Probe(
                pair.client, str(source), first_port + number, pair.node, str(address), pair.port, pair.protocol
            )
            simulator.forget()
            packet = Packet(pair.protocol, source, probe.source_port, address, pair.port)
            told = exchange(Opening(pair.client, packet), simulator)
            found.append((probe, (told.out, told.back)))
    return found


def whole_rules(text: str) -> str:
    """Return rules that leave nothing of those before: iptables-restore does not touch a table it is not given."""
    return text if "*nat" in text else f"{text}*nat\nCOMMIT\n"


class MutableWorld:
    """The running network, and the plan that it is like now."""

    def __init__(self, rig: Rig) -> None:
        self._rig, self._plan = rig, rig.plan

    async def become(self, plan: Plan) -> list[str]:
        """Do what makes it like *plan*; return the routes that are not as planned after a while."""
        before = {node.name: node for node in self._plan.nodes}
        links = {link.name: link for link in self._plan.links}
        switched = {link.name for link in plan.links if link.up != links[link.name].up}
        for link in plan.links:
            if link.name in switched:  # which takes its static routes away, or gives them back
                self._rig.network.set_link(link)
        for node in plan.nodes:
            old = before[node.name]
            if lasting_routes(node, switched) != lasting_routes(old, switched):
                raise NotImplementedError(f"a mutation changes the static routes of {node.name}, which has no BGP")
            if node.sysctls != old.sysctls:
                usual = {name: "0" for name in old.sysctls.keys() - node.sysctls.keys()}
                write_sysctls(self._rig.network.node(node.name).netns_fd, {**usual, **node.sysctls}, where=node.name)
        changed = [node for node in plan.nodes if node != before[node.name]]
        await asyncio.gather(
            *(commands.run(x.name, "iptables-restore", given=whole_rules(x.iptables)) for x in changed if x.iptables),
            *(routing.reconfigure(x.name, x.bird) for x in changed if x.bird != before[x.name].bird and x.bird),
        )
        self._plan = plan
        missing = await self._follow(plan)
        while not missing:  # all as planned, and still so when whatever was being told has been told
            await asyncio.sleep(_QUIET_S)
            again = routing.Convergence(self._rig.network, plan.converged)
            if not again.missing():
                again.close()
                return []
            again.close()
            missing = await self._follow(plan)
        return missing

    async def _follow(self, plan: Plan) -> list[str]:
        return await routing.Convergence(self._rig.network, plan.converged).follow(
            limit_s=_SETTLING_LIMIT_S, nudge=True
        )

    async def probe(self, probes: list[Probe], expected: set[int], servers: Servers) -> dict[str, Any]:
        """Send *probes*, wait for the answers that are *expected* and for the rest to get lost; return the times."""
        network = self._rig.network
        servers.serve(probes)
        clients = Clients(lambda node: network.node(node).netns_fd)
        began_ns = time.time_ns()
        clients.send(probes)
        await clients.wait(expected, limit_s=_ANSWER_LIMIT_S)
        await asyncio.sleep(_UNDER_WAY_S)
        ended_ns = time.time_ns()
        await clients.close()
        servers.drop_connections()
        return {"began_ns": began_ns, "ended_ns": ended_ns, "answered": sorted(clients.answered)}


async def play(directory: Path, seeds: range) -> None:
    """Mutate and probe, once for each seed, always from the network as its files have it."""
    spec = base_spec()
    journal = Journal(os.open(os.devnull, os.O_WRONLY), directory)
    rig = Rig(bare_plan(spec, spec.topology), directory, "auto", journal)
    await rig.start()
    await rig.converge()
    world, servers = MutableWorld(rig), Servers(lambda node: rig.network.node(node).netns_fd)
    told, port = [], _FIRST_PORT
    for seed in seeds:
        change, topology = mutation(spec.topology, seed)
        missing = await world.become(bare_plan(spec, topology))
        probes = probes_of(topology, port)
        expected = {x.source_port for x, (out, back) in probes if out.is_delivered and back and back.is_delivered}
        times = await world.probe([x for x, _ in probes], expected, servers)
        told.append(
            {"seed": seed, "change": change.model_dump(mode="json"), "missing": missing, "first_port": port, **times}
        )
        port += _PORTS_A_ROUND
    (directory / "plan.json").write_text(rig.plan.model_dump_json())
    (directory / "mutations.json").write_text(json.dumps(told, indent=1))
    await rig.leave({})


def main() -> None:
    """Be the first process of the world."""
    directory, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    root = Path(__file__).parents[2]
    mounts.seal_file_system([root, Path(sys.prefix), Path(sys.base_prefix), Path.cwd(), directory])
    mounts.name_world("mutations")
    if sys.version_info < (3, 12):
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
    asyncio.run(play(directory, range(first, first + count)))
    os._exit(0)  # nothing is worth tidying up: the kernel ends the world with this process


if __name__ == "__main__":
    main()
