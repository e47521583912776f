"""Offloads of an interface, off and read back, by the ethtool ioctl.

With segmentation or receive offload on, one captured "packet" can stand for several on the wire, and with checksum
offload its checksum is wrong; a veth starts with most of them on.
"""

import array
import fcntl
import socket
import struct
from collections.abc import Iterable
from typing import Final

from testbed.emulation.syscalls import inside_network

_SIOCETHTOOL: Final = 0x8946
_SWITCHES: Final = {"gro": 0x2B, "gso": 0x23, "tso": 0x1E, "tx": 0x16, "rx": 0x14}
"Name (as `ethtool -K` has it) to the command that reads it (ETHTOOL_G...); the one that sets it is the next number."


def _ioctl(sock: socket.socket, interface: str, command: int, value: int) -> int:
    request = array.array("I", [command, value])
    address, _ = request.buffer_info()
    fcntl.ioctl(sock.fileno(), _SIOCETHTOOL, struct.pack("16sP16x", interface.encode(), address))
    return request[1]


def switch_off(netns_fd: int, interfaces: Iterable[str]) -> None:
    """Turn every offload of *interfaces* off; raise OSError."""
    with _socket_in(netns_fd) as sock:
        for interface in interfaces:
            for command in _SWITCHES.values():
                _ioctl(sock, interface, command + 1, 0)


def offloads_on(netns_fd: int, interfaces: Iterable[str]) -> dict[str, set[str]]:
    """Return, for each of *interfaces*, the offloads that are on."""
    with _socket_in(netns_fd) as sock:
        return {x: {name for name, command in _SWITCHES.items() if _ioctl(sock, x, command, 0)} for x in interfaces}


def _socket_in(netns_fd: int) -> socket.socket:
    with inside_network(netns_fd):
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
