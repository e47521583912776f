"""conntrackd's configuration of a firewall that shares its connection table with another, over the link between them.

Every entry goes straight into the other kernel's table, with its NAT mapping, so that an answer finds it whichever of
the two it comes to. That is how clusters of firewalls do it; Microsoft does not suggest it.
"""

from typing import Final

from testbed.topology import Topology

SYNC_PORT: Final = 3780
"UDP."
_CONFIGURATION: Final = """Sync {{
  Mode FTFW {{
    DisableExternalCache yes
  }}
  UDP {{
    IPv4_address {own}
    IPv4_Destination_Address {peer}
    Port {port}
    Interface {interface}
    Checksum on
  }}
}}
General {{
  HashSize 8192
  HashLimit 65536
  LogFile {directory}/{node}.log
  LockFile {directory}/{node}.lock
  UNIX {{
    Path {directory}/{node}.ctl
  }}
  Filter From Userspace {{
    Protocol Accept {{
      TCP
      UDP
    }}
    Address Ignore {{
      IPv4_address {own}
      IPv4_address {peer}
    }}
  }}
}}
"""
DIRECTORY: Final = "/run/conntrackd"


def conntrackd_text(topology: Topology, node: str) -> str | None:
    """Return the configuration for *node*; None where it shares nothing."""
    firewall = topology.firewalls.get(node)
    if firewall is None or firewall.shares_state_with is None:
        return None
    other = firewall.shares_state_with
    link = next(link for link in topology.links.values() if {*link.ends} == {node, other})
    own, peer = link.addresses[node].ip, link.addresses[other].ip
    return _CONFIGURATION.format(own=own, peer=peer, port=SYNC_PORT, interface=other, directory=DIRECTORY, node=node)
