"""A NAT under test, run inside `unshare`: a client behind it asks coturn's STUN server how it behaves (RFC 5780).

    client 192.168.20.10 - [the NAT's rules] - servers 198.19.136.10 and .11, ports 3478 and 3479

Standard input: {"rules": text for iptables-restore, "inside": interface, "outside": interface,
"question": "-m" or "-f"}. Standard output: what turnutils_natdiscovery says of mapping or filtering. One question a
world: the NAT that filters by address remembers what its host sent to, from whatever port.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_S = 15.0
SERVERS = ("198.19.136.10", "198.19.136.11")
PORTS = (3478, 3479)


def run(command: str, *, inside: int | None = None, given: str | None = None) -> None:
    """Run *command*, in the network namespace of process *inside* if given."""
    prefix = ["nsenter", "-t", str(inside), "-n"] if inside else []
    subprocess.run([*prefix, *command.split()], check=True, input=given, text=True)


def hold_namespace(stack: contextlib.ExitStack) -> int:
    """Make a network namespace that lasts as long as its process, whose number is returned."""
    holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE)
    stack.callback(holder.kill)
    assert holder.stdout is not None
    holder.stdout.readline()
    run("ip link set lo up", inside=holder.pid)
    return holder.pid


def cable(interface: str, address: str, peer: int, *addresses: str) -> None:
    """Join the NAT's *interface* to the namespace of process *peer*, with addresses at both ends."""
    run(f"ip link add {interface} type veth peer name net0 netns {peer}")
    run(f"ip addr add {address}/24 dev {interface}")
    run(f"ip link set {interface} up")
    for each in addresses:
        run(f"ip addr add {each}/24 dev net0", inside=peer)
    run("ip link set net0 up", inside=peer)


def serve(stack: contextlib.ExitStack, inside: int, directory: str) -> None:
    """Start coturn on both addresses, and wait until it has bound both ports of each."""
    ports = f"--listening-port {PORTS[0]} --alt-listening-port {PORTS[1]}"
    listens = " ".join(f"-L {address}" for address in SERVERS)
    files = f"--userdb {directory}/db --pidfile {directory}/pid --log-file stdout"
    command = f"turnserver -n -z --no-tls --no-dtls --no-tcp --no-cli {listens} {ports} {files}"
    server = subprocess.Popen(["nsenter", "-t", str(inside), "-n", *command.split()], stdout=subprocess.DEVNULL)
    stack.callback(server.wait)
    stack.callback(server.kill)
    deadline = time.monotonic() + LIMIT_S
    wanted = {f"{bytes(map(int, a.split('.')))[::-1].hex().upper()}:{port:04X}" for a in SERVERS for port in PORTS}
    while wanted - {line.split()[1] for line in Path(f"/proc/{inside}/net/udp").read_text().splitlines()[1:]}:
        if time.monotonic() > deadline or server.poll() is not None:
            raise TimeoutError("coturn has not bound its ports")
        time.sleep(0.02)


def main() -> None:
    """Build, load the rules, ask, and print the answer."""
    asked = json.load(sys.stdin)
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        client, servers = hold_namespace(stack), hold_namespace(stack)
        run("ip link set lo up")
        cable(asked["inside"], "192.168.20.1", client, "192.168.20.10")
        cable(asked["outside"], "198.19.136.2", servers, *SERVERS)
        run("ip route add default via 192.168.20.1", inside=client)
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        run("iptables-restore", given=asked["rules"])
        serve(stack, servers, directory)
        run(f"turnutils_natdiscovery {asked['question']} -L 192.168.20.10 {SERVERS[0]}", inside=client)


if __name__ == "__main__":
    main()
