"""Who takes part in a scenario: the pools and servers it needs, the parties, and the secrets between them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from testbed.errors import SpecError
from testbed.plan.addresses import address_facing
from testbed.plan.adjacency import Adjacency
from testbed.scenario import Call, Party
from testbed.spec import Spec
from testbed.topology import Pool


@dataclass(frozen=True, slots=True)
class Server:
    """A server of a pool, in one of its roles."""

    pool: str
    role: str
    node: str


@dataclass(frozen=True, slots=True)
class Trunk:
    """The way of telephone calls from a pool's users to the telephone network."""

    home: str
    "Pool of the users."
    server: Server
    "Mediation Server: of their own pool, or of the one (Cloud Connector) that the call names."
    phone: str
    "Party behind it."


class Cast:
    """The parties and pools of one scenario, with lookups that the jobs are written from."""

    def __init__(self, spec: Spec, adjacency: Adjacency, *, seed: int) -> None:
        self.scenario, self.topology = spec.scenario, spec.topology
        self._adjacency, self._seed = adjacency, seed
        self.relay_turn = {name: self._turns(name) for name in self.pools()}
        "Pool to its users' turn: SIP address of each user to the index of the Edge that serves it."

    def pools(self) -> tuple[str, ...]:
        """Return the pools that take part: homes of the parties, and hosts of the calls."""
        calls = enumerate(self.scenario.calls)
        hosts = [self.host(index).pool for index, call in calls if self.scenario.host_of(call) is not None]
        homes = [party.home for party in self.scenario.parties.values() if party.home is not None]
        named = {*hosts, *homes}
        return tuple(name for name in self.topology.pools if name in named)

    def pool(self, name: str) -> Pool:
        """Return a pool of the topology."""
        return self.topology.pools[name]

    def host(self, index: int) -> Server:
        """Return the server that hosts call number *index*; raise SpecError if there is none."""
        host = self.scenario.host_of(self.scenario.calls[index])
        for name, pool in self.topology.pools.items():
            for role, nodes in pool.roles.items():
                if f"{name}-{role}" == host and nodes:
                    return Server(name, role, nodes[0])
        raise SpecError(self.scenario.id, f"calls.{index}.host", f"no pool has the role {host!r}")

    def trunks(self) -> Iterator[Trunk]:
        """Yield the way of each home's telephone calls, once; raise SpecError where there is none."""
        seen: set[tuple[str, str]] = set()
        for index, call in enumerate(self.scenario.calls):
            if call.kind != "pstn":
                continue
            home, phone = self._pstn_ends(index, call)
            server = self._mediation(index, home)
            if (home, server.node) not in seen:
                seen.add((home, server.node))
                yield Trunk(home, server, phone)

    def _mediation(self, index: int, home: str) -> Server:
        """Return the Mediation Server of call number *index*, of a user in pool *home*; raise SpecError."""
        if self.scenario.calls[index].host is not None:
            return self.host(index)
        nodes = self.pool(home).roles.get("mediation", ())
        if not nodes:
            problem = f"pool {home!r} has no mediation server for a PSTN call"
            raise SpecError(self.scenario.id, f"calls.{index}", problem)
        return Server(home, "mediation", nodes[0])

    def _pstn_ends(self, index: int, call: Call) -> tuple[str, str]:
        for user, phone in ((call.caller, call.callee), (call.callee, call.caller)):
            home = self.scenario.parties[user].home if user else None
            if home is not None and phone is not None:
                return home, phone
        raise SpecError(self.scenario.id, f"calls.{index}", "one end of a PSTN call must be homed in a pool")

    def is_phone(self, party: Party) -> bool:
        """Whether *party* is a telephone: it stands in a segment of kind pstn."""
        return self.topology.segments[self.topology.nodes[party.node].segment].kind == "pstn"

    def server_pool(self, name: str) -> str:
        """Return the pool that serves a party: its home, or for a guest the pool that hosts its conference."""
        home = self.scenario.parties[name].home
        if home is not None:
            return home
        for index, call in enumerate(self.scenario.calls):
            if call.kind == "conference" and name in call.participants:
                return self.host(index).pool
        raise SpecError(
            self.scenario.id, f"parties.{name}.home", "only a guest of a conference and a telephone have none"
        )

    def users(self, pool: str) -> dict[str, Party]:
        """Return the parties that *pool* serves: its own users and its guests."""
        parties = self.scenario.parties.items()
        return {name: party for name, party in parties if not self.is_phone(party) and self.server_pool(name) == pool}

    def media_edge(self, server: Server) -> str:
        """Return the Edge that a conference or Mediation Server uses: that of the first user who meets it there."""
        edges = self.role_nodes(server.pool, "edge")
        for index, call in enumerate(self.scenario.calls):
            for name in self._users_at(server, index, call):
                return edges[self.relay_turn[server.pool][self.scenario.parties[name].uri]]
        return edges[0]

    def _users_at(self, server: Server, index: int, call: Call) -> tuple[str, ...]:
        if call.kind == "conference":
            named = call.participants if self.host(index) == server else ()
        else:
            meets = call.kind == "pstn" and self._mediation(index, self._pstn_ends(index, call)[0]) == server
            named = tuple(name for name in (call.caller, call.callee) if name and meets)
        return tuple(name for name in named if name in self.users(server.pool))

    def front_end(self, pool: str) -> str:
        """Return the pool's Front End; of Cloud Connector, which has none, its Mediation Server; raise SpecError."""
        return self.role_nodes(pool, "mediation" if self.is_connector(pool) else "front-end")[0]

    def is_connector(self, pool: str) -> bool:
        """Whether the pool is a Cloud Connector: Mediation Servers behind an Edge, and home to nobody."""
        roles = self.pool(pool).roles
        return "mediation" in roles and "front-end" not in roles and not self.users(pool)

    def role_nodes(self, pool: str, role: str) -> tuple[str, ...]:
        """Return the nodes of a role that the pool cannot do without; raise SpecError if it has none."""
        nodes = self.pool(pool).roles.get(role, ())
        if not nodes:
            raise SpecError(self.topology.name, f"pools.{pool}.roles", f"needs a node of role {role!r}")
        return nodes

    def is_inside(self, node: str, pool: str) -> bool:
        """Whether *node* belongs to the organisation that runs the pool."""
        return self.organisation(node) == self.organisation(self.front_end(pool))

    def is_running(self, node: str) -> bool:
        """Whether the node's programs are started."""
        return not self.topology.nodes[node].stopped

    def address(self, node: str, *, seen_from: str) -> IPv4Address:
        """Return the address at which *seen_from* reaches *node*."""
        return address_facing(self.topology, self._adjacency, node, seen_from)

    def secret(self, label: str) -> str:
        """Return a secret that follows from the seed and its label alone, so that a run can be repeated."""
        return hashlib.sha256(f"{self._seed}/{label}".encode()).hexdigest()[:32]

    def organisation(self, node: str) -> str:
        """Return the organisation that runs *node*."""
        return self.topology.segments[self.topology.nodes[node].segment].organisation

    def _turns(self, pool: str) -> dict[str, int]:
        """Give the Edges out in turn: one to each user of a two-party call, one to all who meet at a server."""
        edges = len(self.role_nodes(pool, "edge"))
        users, turns = self.users(pool), dict[str, int]()
        turn = 0
        for call in self.scenario.calls:
            for group in _groups(call):
                new = [users[name].uri for name in group if name in users and users[name].uri not in turns]
                turns |= dict.fromkeys(new, turn % edges)
                turn += bool(new)
        for party in users.values():
            turns.setdefault(party.uri, 0)
        return turns


def _groups(call: Call) -> list[tuple[str, ...]]:
    """Return the parties of a call, together where they have one Edge."""
    if call.kind == "conference":
        return [call.participants]
    return [(name,) for name in (call.caller, call.callee) if name is not None]
