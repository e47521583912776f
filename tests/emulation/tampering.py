"""Run in a world by test_readback: build the small network, spoil one thing after the other, say what is found."""

import asyncio
import json
import sys
from pathlib import Path

from testbed.emulation import commands, firewalls, mounts, readback, routing
from testbed.emulation.network import SWITCHBOARD, EmulatedNetwork
from testbed.errors import RigError
from testbed.plan.model import RouteFact

from .small_world import small_plan

TAMPERINGS = {
    "address added": ("alice", "ip addr add 10.9.9.9/32 dev r1", "ip addr del 10.9.9.9/32 dev r1"),
    "address gone": ("fw", "ip addr del 10.0.4.1/24 dev bob", "ip addr add 10.0.4.1/24 dev bob"),
    "mac": ("alice", "ip link set r1 address 02:00:00:00:00:ff", "ip link set r1 address 02:00:00:00:00:0a"),
    "mtu": ("r2", "ip link set r1 mtu 1400", "ip link set r1 mtu 1500"),
    "interface added": ("bob", "ip link add extra type bridge", "ip link del extra"),
    "interface down": ("r1", "ip link set r2 down", "ip link set r2 up"),
    "route added": ("fw", "ip route add 10.8.0.0/16 via 10.0.4.2", "ip route del 10.8.0.0/16"),
    "route gone": (
        "alice",
        "ip route del default",
        "ip route add default via 10.0.1.2 dev r1 proto static",
    ),
    "sysctl": ("r1", "sysctl -q -w net.ipv4.conf.alice.rp_filter=1", "sysctl -q -w net.ipv4.conf.alice.rp_filter=0"),
    "rule added": ("fw", "iptables -I FORWARD -j ACCEPT", "iptables -D FORWARD -j ACCEPT"),
    "policy": ("fw", "iptables -P FORWARD ACCEPT", "iptables -P FORWARD DROP"),
    "nat added": (
        "fw",
        "iptables -t nat -A POSTROUTING -j MASQUERADE",
        "iptables -t nat -D POSTROUTING -j MASQUERADE",
    ),
    "offload": ("alice", "ethtool -K r1 gro on", "ethtool -K r1 gro off"),
    "qdisc": ("bob", "tc qdisc add dev fw root tbf rate 1mbit burst 5k latency 5ms", "tc qdisc del dev fw root"),
    "switchboard arp": (SWITCHBOARD, "ip link set w1a arp on", "ip link set w1a arp off"),
    "switchboard down": (SWITCHBOARD, "ip link set w1b down", "ip link set w1b up"),
}


async def spoil_and_read() -> dict[str, str]:
    """Return what readback says: "" for no complaint."""
    network = EmulatedNetwork(small_plan())
    network.build()
    await firewalls.load_rules(network)
    said = {"untouched": await _complaint(network)}
    for name, (node, do, undo) in TAMPERINGS.items():
        await commands.run(node, *do.split())
        said[name] = await _complaint(network)
        await commands.run(node, *undo.split())
    said["mended"] = await _complaint(network)
    missing = RouteFact(node="r1", prefix="10.0.4.0/24", via="10.0.2.2")
    said["route not learned"] = await _unconverged(network, missing)
    said["route not absent"] = await _unconverged(network, RouteFact(node="alice", prefix="0.0.0.0/0", via=None))
    said["wrong next hop"] = await _unconverged(network, RouteFact(node="fw", prefix="10.0.0.0/16", via="10.0.3.9"))
    arrival = asyncio.create_task(routing.Convergence(network, [missing]).wait(limit_s=20))
    await asyncio.sleep(0)
    await commands.run("r1", "ip", "route", "add", "10.0.4.0/24", "via", "10.0.2.2")
    await arrival
    return said


async def _unconverged(network: EmulatedNetwork, fact: RouteFact) -> str:
    try:
        await routing.Convergence(network, [fact]).wait(limit_s=0.1)
    except RigError as error:
        return str(error)
    return ""


async def _complaint(network: EmulatedNetwork) -> str:
    try:
        await readback.read_back(network)
    except RigError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    mounts.seal_file_system([Path(sys.argv[1]), Path(sys.prefix)])
    sys.stdout.write(json.dumps(asyncio.run(spoil_and_read())))
