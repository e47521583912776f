"""A small world for agents, run inside `unshare`: five namespaces around a default-DROP router, and a tiny conductor.

    alice 10.1.0.2 ─┐                       ┌─ edge   198.51.100.2 (coturn)
                    ├─ router (policy DROP) ┼─ server 198.51.101.2 (SIP servers)
    bob   10.2.0.2 ─┘                       └─ phone  203.0.113.2

Standard input: {"drop": [iptables matches], "accept": [more], "relay_secret",
"jobs": [{"name", "program", "node", ...}], "calls": [{"party", "call", ...}],
"established": [parties that must be in a call before going on],
"ends": [parties whose call must have ended before `stop`], "failing": [agents that end by themselves],
"is_abandoned": the conductor vanishes and tells nobody to stop}. Standard output: {agent: [its lines]}.
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DEADLINE_S = 45.0
ADDRESSES = {
    "alice": "10.1.0.2",
    "bob": "10.2.0.2",
    "edge": "198.51.100.2",
    "server": "198.51.101.2",
    "phone": "203.0.113.2",
}
ACCEPTED = (
    "-m conntrack --ctstate ESTABLISHED,RELATED",
    "-s 10.0.0.0/8 -d 198.51.101.2 -p tcp --dport 5060",
    "-s 10.0.0.0/8 -d 198.51.100.2 -p udp --dport 3478",
    "-s 10.0.0.0/8 -d 198.51.100.2 -p tcp --dport 443",
    "-s 198.51.101.2 -d 198.51.100.2",
    "-s 198.51.100.2 -d 198.51.101.2",
    "-s 198.51.101.2 -d 203.0.113.2",
    "-s 203.0.113.2 -d 198.51.101.2",
)
Line = dict[str, Any]


def run(command: str, *, inside: int | None = None) -> None:
    """Run *command*, in the network namespace of process *inside* if given."""
    prefix = ["nsenter", "-t", str(inside), "-n"] if inside else []
    subprocess.run([*prefix, *command.split()], check=True)


def hold_namespace(stack: contextlib.ExitStack) -> int:
    """Make a network namespace that lasts as long as its process, whose number is returned."""
    holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE)
    stack.callback(holder.kill)
    assert holder.stdout is not None
    holder.stdout.readline()
    run("ip link set lo up", inside=holder.pid)
    return holder.pid


def build(stack: contextlib.ExitStack, drops: list[str], accepts: list[str]) -> dict[str, int]:
    """Build the network; return each node's process number."""
    run("ip link set lo up")
    holders = {}
    for name, address in ADDRESSES.items():
        holder = holders[name] = hold_namespace(stack)
        run(f"ip link add {name} type veth peer name net0 netns {holder}")
        gateway = address.rsplit(".", 1)[0] + ".1"
        run(f"ip addr add {gateway}/24 dev {name}")
        run(f"ip link set {name} up")
        run(f"ip addr add {address}/24 dev net0", inside=holder)
        run("ip link set net0 up", inside=holder)
        run(f"ip route add default via {gateway}", inside=holder)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    for drop in drops:
        run(f"iptables -A FORWARD {drop} -j DROP")
    for accept in (*ACCEPTED, *accepts):
        run(f"iptables -A FORWARD {accept} -j ACCEPT")
    run("iptables -P FORWARD DROP")
    return holders


class Agent:
    """One agent, and the lines it has written."""

    def __init__(self, name: str, commands_fd: int, lines_fd: int) -> None:
        self.name, self.lines_fd = name, lines_fd
        self._commands_fd, self._rest = commands_fd, b""
        self.lines: list[Line] = []

    def tell(self, message: Line) -> None:
        """Send a command."""
        os.write(self._commands_fd, (json.dumps(message) + "\n").encode())

    def read(self) -> bool:
        """Take in what has come; False at the end."""
        data = os.read(self.lines_fd, 65536)
        *whole, self._rest = (self._rest + data).split(b"\n")
        self.lines += [json.loads(line) for line in whole]
        return bool(data)

    def has(self, **facts: object) -> bool:
        """Whether a line has these values."""
        return any(all(line.get(key) == value for key, value in facts.items()) for line in self.lines)


class Conductor:
    """Starts agents through the forkserver and waits for what they say."""

    def __init__(self, stack: contextlib.ExitStack, holders: dict[str, int]) -> None:
        self._holders = holders
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        server = subprocess.Popen(
            [sys.executable, "-m", "agents.forkserver", str(theirs.fileno())], pass_fds=[theirs.fileno()]
        )
        stack.callback(server.wait)
        stack.callback(self._control.close)
        theirs.close()
        self.agents: dict[str, Agent] = {}
        self.exits: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._deadline = time.monotonic() + DEADLINE_S

    def start(self, job: Line) -> None:
        """Fork one agent and give it its job."""
        node = job["node"]
        commands_read, commands_write = os.pipe()
        lines_read, lines_write = os.pipe()
        namespace = os.open(f"/proc/{self._holders[node]}/ns/net", os.O_RDONLY)
        request = json.dumps({"program": job["program"], "name": job["name"]}).encode()
        socket.send_fds(self._control, [request], [namespace, commands_read, lines_write])
        answer = json.loads(self._control.recv(65536))
        while "exit" in answer:
            self._note_exit(answer)
            answer = json.loads(self._control.recv(65536))
        for fd in (namespace, commands_read, lines_write):
            os.close(fd)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        self._names[answer["pid"]] = job["name"]
        agent = self.agents[job["name"]] = Agent(job["name"], commands_write, lines_read)
        agent.tell({"address": ADDRESSES[node], **job})

    def _note_exit(self, message: Line) -> None:
        self.exits[self._names[message["pid"]]] = message["exit"]

    def wait(self, name: str, **facts: object) -> None:
        """Read until agent *name* has said a line with these values; raise TimeoutError at the deadline."""
        agent = self.agents[name]
        while not agent.has(**facts):
            ready = self._readable()
            if not any(fd == agent.lines_fd for fd in ready) and name in self.exits:
                raise RuntimeError(f"{name} ended with {self.exits[name]} before it said {facts}: {agent.lines}")
            self._take(ready)

    def wait_exit(self, name: str) -> None:
        """Read until agent *name* has ended, and its last line."""
        while name not in self.exits:
            self._take(self._readable())
        while self.agents[name].read():
            pass

    def abandon(self) -> dict[str, list[Line]]:
        """Vanish as a stage does that is killed; return the agents whose pipes then closed: they have ended."""
        self._control.close()
        closed = []
        for agent in self.agents.values():
            while select.select([agent.lines_fd], [], [], max(0, self._deadline - time.monotonic()))[0]:
                if not agent.read():
                    closed.append(agent.name)
                    break
        return {"closed": [{"name": name} for name in closed]}

    def _readable(self) -> list[int]:
        left = self._deadline - time.monotonic()
        watched = [a.lines_fd for a in self.agents.values() if a.name not in self.exits]
        ready: list[int] = select.select([*watched, self._control.fileno()], [], [], max(0, left))[0]
        if not ready:
            raise TimeoutError(json.dumps({name: agent.lines for name, agent in self.agents.items()}))
        return ready

    def _take(self, ready: list[int]) -> None:
        for agent in self.agents.values():
            if agent.lines_fd in ready:
                agent.read()
        if self._control.fileno() in ready:
            self._note_exit(json.loads(self._control.recv(65536)))


@contextlib.contextmanager
def coturn(holder: int, secret: str, directory: Path) -> Iterator[None]:
    """Run coturn on the edge, as the A/V Edge does."""
    address = ADDRESSES["edge"]
    options = (
        f"-n -L {address} -E {address} --listening-port 3478 --aux-server {address}:443 --use-auth-secret "
        f"--static-auth-secret {secret} -r edge.example --min-port 50000 --max-port 50099 --no-tls --no-dtls --no-cli "
        f"--userdb {directory}/turn.db --pidfile {directory}/turn.pid --log-file stdout --simple-log -m 1"
    )
    server = subprocess.Popen(
        ["nsenter", "-t", str(holder), "-n", "turnserver", *options.split()], stdout=subprocess.PIPE, text=True
    )
    try:
        yield
    finally:
        server.kill()
        server.wait()


def wait_for_port(holder: int, port: int) -> None:
    """Wait until something listens for TCP on *port* in the namespace of process *holder*."""
    deadline = time.monotonic() + 10
    while f":{port:04X} 00000000:0000 0A" not in Path(f"/proc/{holder}/net/tcp").read_text():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing listens on port {port}")
        select.select([], [], [], 0.05)


def conduct(spec: Line, directory: Path) -> dict[str, list[Line]]:
    """Carry out *spec*; return what the agents said."""
    with contextlib.ExitStack() as stack:
        holders = build(stack, spec.get("drop", []), spec.get("accept", []))
        if "relay_secret" in spec:
            stack.enter_context(coturn(holders["edge"], spec["relay_secret"], directory))
            wait_for_port(holders["edge"], 3478)
        conductor = Conductor(stack, holders)
        for job in spec["jobs"]:
            conductor.start(job)
            if job.get("is_awaited", True):
                conductor.wait(job["name"], type="ready")
        for call in spec["calls"]:
            conductor.agents[call["party"]].tell({"do": "call", **call})
        for party in spec.get("established", []):
            conductor.wait(party, event="established")
        if spec.get("is_abandoned"):
            return conductor.abandon()
        for end in spec["ends"]:
            conductor.wait(end, event="terminated")
        stops: dict[str, int] = {}
        for name in spec.get("failing", []):
            conductor.wait_exit(name)
        for name in reversed(conductor.agents):
            if name not in conductor.exits:
                told_ns = time.time_ns()
                conductor.agents[name].tell({"do": "stop"})
                conductor.wait_exit(name)
                stops[name] = time.time_ns() - told_ns
        said = {name: agent.lines for name, agent in conductor.agents.items()}
        return {**said, "exits": [conductor.exits], "stop_ns": [stops]}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(conduct(json.load(sys.stdin), Path(sys.argv[1]))))
