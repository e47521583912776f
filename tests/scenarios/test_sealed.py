"""No packet of a world is seen on the host's own interfaces."""

import ipaddress
import socket
import struct
import threading
from pathlib import Path

import psutil
import pytest

from testbed import catalogue, run

from .conftest import run_all

HOSTS_OWN = [
    ipaddress.ip_network(f"{address.address}/{address.netmask}", strict=False)
    for addresses in psutil.net_if_addrs().values()
    for address in addresses
    if address.family == socket.AF_INET
]
"A machine may itself live in a documentation range; its own traffic there is not a world's."
EMULATED = [
    network
    for text in ("198.18.0.0/15", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")
    if not any((network := ipaddress.ip_network(text)).overlaps(own) for own in HOSTS_OWN)
]
ETH_P_ALL = 3


def belongs_to_a_world(frame: bytes) -> bool:
    """Whether a frame has a MAC address or an IPv4 address that only worlds use."""
    if b"\x02\x00\x00\x00" in (frame[0:4], frame[6:10]):
        return True
    if len(frame) < 34 or frame[12:14] != b"\x08\x00":
        return False
    addresses = (ipaddress.ip_address(address) for address in struct.unpack("!II", frame[26:34]))
    return any(address in network for address in addresses for network in EMULATED)


def test_a_frame_of_a_world_would_be_noticed() -> None:
    ethernet = bytes.fromhex("ffffffffffff0a00000000010800")
    ip = bytes(12) + bytes([10, 0, 0, 1]) + bytes([198, 18, 64, 10])
    assert belongs_to_a_world(ethernet + ip)
    assert belongs_to_a_world(bytes.fromhex("0200000000010a00000000010806") + bytes(28))
    assert not belongs_to_a_world(ethernet + bytes(12) + bytes([10, 0, 0, 1, 10, 0, 0, 2]))


@pytest.mark.emulation
def test_the_host_sees_not_one_packet(tmp_path: Path) -> None:
    try:
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    except PermissionError:
        pytest.skip("capturing on the host's own interfaces takes root")
    seen: list[bytes] = []
    done = threading.Event()

    def watch() -> None:
        tap.settimeout(0.2)
        while not done.is_set():
            try:
                frame = tap.recv(2048)
            except TimeoutError:
                continue
            if belongs_to_a_world(frame):
                seen.append(frame)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        judged = run_all(run.read_items([catalogue.find_scenario("online/p2p-external")]), tmp_path)
    finally:
        done.set()
        watcher.join()
        tap.close()
    assert judged["online/p2p-external"].verdict["verdict"] == "PASS"
    assert seen == []
