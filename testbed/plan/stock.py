"""Stock server programs as jobs: command, configuration files, and where each must answer before it counts as ready.

What the program `stock` of the agents is given (docs/agents.md); adding a server of someone else's is a function here.
"""

from collections.abc import Iterable
from typing import Any, Final

from testbed.plan.model import DnsRecord, NameServer

DNS_PORT: Final = 53
PROXY_PORT: Final = 8080
HTTP_PORT: Final = 80
_RECORD_TTL_S: Final = 300
_TUNNEL_IDLE_S: Final = 7200
"Longer than any call: a proxy that closes a tunnel takes the registration with it."


def dnsmasq(server: NameServer, *, forward_to: str | None) -> dict[str, Any]:
    """Return the arguments of a name server; *forward_to* is the address of the one that it asks."""
    return {
        "command": ["dnsmasq", "--conf-file={directory}/dnsmasq.conf"],
        "package": "dnsmasq-base",
        "files": {"dnsmasq.conf": dnsmasq_configuration(server, forward_to=forward_to)},
        "ready": [{"address": server.address, "port": DNS_PORT}],
    }


def dnsmasq_configuration(server: NameServer, *, forward_to: str | None) -> str:
    """Return dnsmasq's configuration file."""
    lines = [
        "no-daemon",  # also: no change of user, for there is no other in a world
        "no-resolv",
        "no-hosts",
        "bind-interfaces",
        f"listen-address={server.address}",
        f"port={DNS_PORT}",
        f"local-ttl={_RECORD_TTL_S}",
        *(f"local=/{zone}/" for zone in server.zones),
        *([f"server={forward_to}"] if forward_to else []),
        *map(_record_line, server.records),
    ]
    return "\n".join(lines) + "\n"


def _record_line(record: DnsRecord) -> str:
    if record.kind == "A":
        return f"host-record={record.name},{record.target}"
    return f"srv-host={record.name},{record.target},{record.port}"


def tinyproxy(address: str, *, connect_ports: Iterable[int]) -> dict[str, Any]:
    """Return the arguments of a web proxy at *address* that opens tunnels to *connect_ports*."""
    return {
        "command": ["tinyproxy", "-d", "-c", "{directory}/tinyproxy.conf"],
        "package": "tinyproxy-bin",
        "files": {"tinyproxy.conf": tinyproxy_configuration(address, connect_ports=connect_ports)},
        "ready": [{"address": address, "port": PROXY_PORT}],
    }


def tinyproxy_configuration(address: str, *, connect_ports: Iterable[int]) -> str:
    """Return tinyproxy's configuration file."""
    lines = [
        f"Listen {address}",
        f"Port {PROXY_PORT}",
        f"Timeout {_TUNNEL_IDLE_S}",
        "LogLevel Connect",
        *(f"ConnectPort {port}" for port in connect_ports),
    ]
    return "\n".join(lines) + "\n"


def nginx(server: str, address: str, *, port: int = HTTP_PORT) -> dict[str, Any]:
    """Return the arguments of a web server at *address*; *server* is what its configuration has inside http."""
    return {
        "command": ["nginx", "-p", "{directory}", "-c", "nginx.conf", "-e", "stderr"],
        "package": "nginx-light",
        "files": {"nginx.conf": nginx_configuration(server)},
        "ready": [{"address": address, "port": port}],
    }


def nginx_configuration(server: str) -> str:
    """Return nginx's configuration file: one process, in the foreground, writing below its own directory only."""
    folders = [f"{name}_temp_path {name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
    # As root nginx would give its folders to another user, and a world has none.
    head = ["user root;", "daemon off;", "master_process off;", "pid nginx.pid;", "error_log stderr error;"]
    lines = [*head, "events { worker_connections 1024; }", "http {", "access_log off;", *folders, server.strip(), "}"]
    return "\n".join(lines) + "\n"


def origin_configuration(address: str) -> str:
    """Return the server of a live stream: its playlist is never old, its segments never change."""
    return f"""
types {{ application/vnd.apple.mpegurl m3u8; audio/basic au; }}
server {{
    listen {address}:{HTTP_PORT};
    root www;
    location / {{ add_header Cache-Control "max-age=3600"; }}
    location ~ \\.m3u8$ {{ add_header Cache-Control "no-store"; }}
}}"""


def cache_configuration(address: str, *, upstream: str, caches: bool) -> str:
    """Return a web cache before the server at *upstream*; the first who asks for a segment has all others wait.

    Playlists are asked for without: where nothing may be kept, nginx would have those who wait ask one after the other.
    """
    keep = "proxy_cache kept; proxy_cache_lock on;" if caches else ""
    return f"""
proxy_cache_path cache keys_zone=kept:1m;
proxy_http_version 1.1;
proxy_set_header Connection "";
server {{
    listen {address}:{HTTP_PORT};
    location / {{ proxy_pass http://{upstream}:{HTTP_PORT}; {keep} }}
    location ~ \\.m3u8$ {{ proxy_pass http://{upstream}:{HTTP_PORT}; }}
}}"""


def list_configuration(address: str) -> str:
    """Return the server of lists of revoked certificates (RFC 5280 section 4.2.1.13 gives their type)."""
    return f"""
types {{ application/pkix-crl crl; }}
server {{ listen {address}:{HTTP_PORT}; root www; }}"""


def https_configuration(address: str, *, accepts: bool) -> str:
    """Return a server over TLS that has a page, or *accepts* what is posted to it."""
    answer = "location / { return 204; }" if accepts else "types { text/html html; } root www;"
    return f"""
server {{
    listen {address}:443 ssl;
    ssl_certificate {{directory}}/certificate.pem;
    ssl_certificate_key {{directory}}/key.pem;
    {answer}
}}"""
