"""Build and end 200 hosts on a switch: this project's network against stock Mininet's, each in a world of its own.

    python -m benchmarks.build [HOSTS]

Both have the same hosts, addresses and cables and a Linux bridge (made by `ip` for Mininet, whose LinuxBridge needs
brctl), and both are checked to work: the last host reaches the first one. Ended means that all processes are gone;
what the kernel still clears away by itself afterwards counts for neither.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from testbed.emulation import mounts
from testbed.emulation.syscalls import inside_network
from testbed.emulation.world import stage_command, world_environment
from testbed.plan.model import End, Interface, LinkPlan, NodePlan, Plan
from testbed.topology import LinkShape

_ROOT: Final = Path(__file__).parents[1]
_ROUNDS: Final = 3
BUILD_TARGET: Final = 5.0
END_TARGET: Final = 30.0


def _address(n: int) -> str:
    return f"10.0.{n // 250}.{n % 250 + 1}"


def plan_of(hosts: int) -> Plan:
    """Return a plan of *hosts* hosts on one switch."""
    nodes, links, ports = [], [], []
    for n in range(hosts):
        name, link = f"h{n}", f"h{n}-s1"
        tail = f"{n >> 8:02x}:{n & 255:02x}"
        own = Interface(name="s1", mac=f"02:00:00:00:{tail}", address=f"{_address(n)}/16", link=link)
        ports.append(Interface(name=name, mac=f"02:00:00:01:{tail}", address=None, link=link))
        nodes.append(_node(name, "host", (own,)))
        links.append(
            LinkPlan(
                name=link, segment="lab", segment_kind="customer", a=End(node=name, interface="s1"),
                b=End(node="s1", interface=name), shape_forward=LinkShape(), shape_return=LinkShape(), up=True,
                captured=False,
            )
        )  # fmt: skip
    return Plan(
        scenario="benchmark/build", row="", seed=1, nodes=(*nodes, _node("s1", "switch", tuple(ports))),
        links=tuple(links), converged=(), jobs=(), calls=(), roles={}, addresses={}, sip_ports=(), predicted=(),
        duration_ns=1, setup_limit_ns=1,
    )  # fmt: skip


def _node(name: str, kind: Any, interfaces: tuple[Interface, ...]) -> NodePlan:
    return NodePlan(name=name, kind=kind, segment="lab", segment_kind="customer", organisation="lab", title="",
                    interfaces=interfaces, routes=(), sysctls={})  # fmt: skip


def _reach(address: str) -> bool:
    """Whether *address* answers ARP and refuses a connection, from the namespace this is called in."""
    with socket.socket() as probe:
        probe.settimeout(5)
        try:
            probe.connect((address, 9))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return True


def _ours(hosts: int) -> Any:
    from testbed.emulation.network import EmulatedNetwork

    network = EmulatedNetwork(plan_of(hosts))
    network.build()

    def check() -> bool:
        with inside_network(network.node(f"h{hosts - 1}").netns_fd):
            return _reach(_address(0))

    return check, lambda: None  # the world's end is the network's end


def _stock(hosts: int) -> Any:
    from mininet.net import Mininet
    from mininet.node import Switch

    class PlainBridge(Switch):  # type: ignore[misc]
        """What Mininet's LinuxBridge does, without brctl."""

        def start(self, controllers: object) -> None:
            self.cmd("ip link add", self, "type bridge forward_delay 0")
            for interface in self.intfList():
                if self.name in interface.name:
                    self.cmd("ip link set", interface, "master", self)
            self.cmd("ip link set", self, "up")

        def stop(self, deleteIntfs: bool = True) -> None:
            self.cmd("ip link del", self)
            super().stop(deleteIntfs)

    network = Mininet(controller=None, switch=PlainBridge, ipBase="10.0.0.0/16")
    switch = network.addSwitch("s1")
    for n in range(hosts):
        network.addLink(network.addHost(f"h{n}", ip=f"{_address(n)}/16"), switch)
    network.start()

    def check() -> bool:
        with inside_network(os.open(f"/proc/{network[f'h{hosts - 1}'].pid}/ns/net", os.O_RDONLY)):
            return _reach(_address(0))

    return check, network.stop


def _inside(which: str, hosts: int) -> None:
    """Be PID 1 of a world: build, tell, wait for the word to end, end."""
    mounts.seal_file_system([_ROOT, Path(sys.prefix), Path(sys.base_prefix)])
    began = time.perf_counter()
    check, end = {"ours": _ours, "stock": _stock}[which](hosts)
    built_s = time.perf_counter() - began
    sys.stdout.write(json.dumps({"built_s": built_s, "works": check()}) + "\n")
    sys.stdout.flush()
    sys.stdin.readline()
    end()
    sys.stdout.flush()
    os._exit(0)


def measure(which: str, hosts: int) -> tuple[float, float]:
    """Return the seconds to build, without the start of Python, and the seconds until all of it is gone."""
    command = stage_command(which, str(hosts))
    command[command.index("testbed.emulation.stage")] = "benchmarks.build"
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=world_environment(),
    ) as world:  # fmt: skip
        assert world.stdin is not None
        assert world.stdout is not None
        line = next((x for x in world.stdout if x.startswith("{")), None)
        if line is None:
            raise SystemExit(f"{which}: the network was not built")
        told = json.loads(line)
        if not told["works"]:
            raise SystemExit(f"{which}: the last host does not reach the first: nothing was measured")
        began = time.perf_counter()
        world.stdin.write("end\n")
        world.stdin.flush()
        world.wait()
        return told["built_s"], time.perf_counter() - began


def main(arguments: list[str]) -> int:
    """Measure both, print the medians and their ratios; return 1 if a target is missed."""
    if arguments and arguments[0] in ("ours", "stock"):
        _inside(arguments[0], int(arguments[1]))
    hosts = int(arguments[0]) if arguments else 200
    median = {}
    for which in ("ours", "stock"):
        rounds = [measure(which, hosts) for _ in range(_ROUNDS)]
        median[which] = [statistics.median(x) for x in zip(*rounds, strict=True)]
    missed = 0
    print(f"{hosts} hosts on a switch, median of {_ROUNDS}")
    for n, (what, target) in enumerate((("build", BUILD_TARGET), ("end", END_TARGET))):
        ours_s, stock_s = median["ours"][n], median["stock"][n]
        ratio = stock_s / ours_s
        missed += ratio < target
        print(f"{what:6} {ours_s:7.3f} s   stock Mininet {stock_s:7.3f} s   {ratio:5.1f} times (target {target:g})")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
