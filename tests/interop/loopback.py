"""Ports of this machine's loopback interface."""

import socket


def free_port(address: str) -> int:
    """Return a port that is free for UDP and TCP at *address*."""
    while True:
        with socket.socket(type=socket.SOCK_STREAM) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind((address, 0))
            port: int = tcp.getsockname()[1]
            try:
                udp.bind((address, port))
            except OSError:
                continue
            return port
