"""A small topology and scenario as files: two hosts, a router, a firewall, a server; for tests of what reads them."""

from pathlib import Path

ASSEMBLY = """
name = "tiny"
title = "Two hosts, a firewall and a server"
includes = ["office.toml", "cloud.toml"]
"""

OFFICE = """
[segment.office]
kind = "customer"
organisation = "contoso"
title = "The office"

[nodes.ann]
kind = "host"
routes.default = "r1"

[nodes.ben]
kind = "host"
routes.default = "r1"

[nodes.lan]
kind = "switch"

[nodes.r1]
kind = "router"
routes.default = "fw1"

[nodes.fw1]
kind = "firewall"
routes.default = "r2"
routes."10.0.1.0/24" = "r1"

[links.ann-lan]
ends = ["ann", "lan"]
addresses.ann = "10.0.1.2/24"

[links.ben-lan]
ends = ["ben", "lan"]
addresses.ben = "10.0.1.3/24"

[links.r1-lan]
ends = ["r1", "lan"]
addresses.r1 = "10.0.1.1/24"

[links.r1-fw1]
ends = ["r1", "fw1"]
addresses = { r1 = "10.0.9.1/30", fw1 = "10.0.9.2/30" }

[firewalls.fw1]
zones = { inside = ["r1"], outside = ["r2"] }
rules.turn = { from = "inside", to = "outside", protocol = "udp", destination_ports = ["3478"] }
rules.sip = { from = "inside", to = "outside", protocol = "tcp", destination_ports = ["5061"] }
nat.out = { to_zone = "outside", source = "10.0.0.0/8", pool = "192.0.2.65-192.0.2.70" }
"""

CLOUD = """
[segment.cloud]
kind = "microsoft"
organisation = "microsoft"
title = "The cloud"

[nodes.r2]
kind = "router"

[nodes.fe]
kind = "host"
routes.default = "r2"

[links.fw1-r2]
ends = ["fw1", "r2"]
addresses = { fw1 = "198.18.0.1/30", r2 = "198.18.0.2/30" }

[links.fe-r2]
ends = ["fe", "r2"]
addresses = { fe = "198.18.64.10/24", r2 = "198.18.64.1/24" }

[bgp.r2]
asn = 12076

[bgp.fw1]
asn = 64496

[sessions.fw1-r2]
ends = ["fw1", "r2"]
accept_communities.fw1 = ["12076:5030"]

[announcements.pool]
prefix = "192.0.2.64/26"
at = "fw1"
to = ["r2"]

[pools.online]
title = "Online"
domains = ["contoso.example"]
roles.front-end = ["fe"]
roles.edge = ["fe"]
"""

SCENARIO = """
row = "X-1"
table = "online"
title = "Ann calls Ben"
topology = "tiny"

[parties.ann]
node = "ann"
home = "online"
uri = "sip:ann@contoso.example"

[parties.ben]
node = "ben"
home = "online"
uri = "sip:ben@contoso.example"

[[calls]]
kind = "p2p"
caller = "ann"
callee = "ben"

[[legs]]
flow = "signaling"
from = "ann"
to = "online-front-end"
crosses = ["customer", "microsoft"]
never = ["internet"]

[[legs]]
flow = "media"
from = "ann"
to = "ben"
crosses = ["customer"]

[controls.cable-cut]
set = { "links.ann-lan.up" = false }
why = "Ann is cut off"
verdict = "FAIL"
reason = "never sent"
"""

FILES = {
    "topologies/tiny.toml": ASSEMBLY,
    "topologies/office.toml": OFFICE,
    "topologies/cloud.toml": CLOUD,
    "scenarios/own/call.toml": SCENARIO,
}


def write_samples(root: Path, *edits: tuple[str, str]) -> Path:
    """Write the files below *root*, each edit (old, new) made wherever old stands; return the scenario's path."""
    for name, text in FILES.items():
        for old, new in edits:
            text = text.replace(old, new)
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for old, _ in edits:
        assert any(old in text for text in FILES.values()), f"{old!r} stands in no sample"
    return root / "scenarios/own/call.toml"
