"""Which Edges may carry a party's media: the candidate pairs with a relay that ICE may select.

RFC 8445 section 6.1.2.3 puts the pair of the controlling side's own address with the other side's relayed address
first: then the caller's media goes straight to the other's Edge. But the controlling side nominates among the pairs
that work when it looks (section 8.1.1): the order says what is likely, the race of the checks what happens.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from testbed.plan.jobs import TURN_UDP_PORT
from testbed.plan.model import Job, Plan
from testbed.plan.policy import Payload, Protocol


@dataclass(frozen=True, slots=True)
class Target:
    """An address and port that packets are sent to."""

    address: IPv4Address
    port: int
    protocol: Protocol
    payload: Payload = ""


@dataclass(frozen=True, slots=True)
class RelayedPair:
    """A candidate pair of which at least one is a relayed address, as one end sees it."""

    way: Target | None
    "Where this end sends its media; None where no job tells."
    others_way: Target | None
    "Where the other end sends its media."
    name: str
    "The two candidates, in words."
    between: tuple[Target, Target] | None = None
    "This end's relayed address and the other's, where media goes from the one to the other."


class Relays:
    """The TURN servers that a plan's jobs are given, and who talks to whom."""

    def __init__(self, plan: Plan, choose: Callable[[str, Sequence[Target]], Target]) -> None:
        """*choose* tells which of its ways to a relay, in the order it tries them, a client at that node takes."""
        self._plan, self._choose = plan, choose
        self._jobs = {job.name: job for job in plan.jobs}

    def given(self, job: Job) -> Target | None:
        """Return the TURN address that a client is given by its Front End, or that a server's job names."""
        relay = job.arguments.get("relay")
        if isinstance(relay, dict):
            return Target(IPv4Address(relay["address"]), int(relay.get("udp_port", TURN_UDP_PORT)), "udp", "stun")
        uri = job.arguments.get("uri")
        for front_end in self._plan.jobs:
            relays, turn = front_end.arguments.get("relays"), front_end.arguments.get("relay_of") or {}
            if relays and uri in turn:
                return self._choose(job.node, _rungs(relays[int(turn[uri])], job))
        return None

    def relayed(self, job: Job) -> Target | None:
        """Return where others send what is relayed to *job*: its Edge's external address, first port of the range."""
        turn = self.given(job)
        for edge in self._plan.jobs if turn else ():
            own = (edge.arguments.get("external_address"), edge.arguments.get("internal_address"))
            if edge.program == "edge" and turn is not None and str(turn.address) in own:
                first = int(str(edge.arguments["relay_ports"]).partition("-")[0])
                return Target(IPv4Address(own[0]), first, "udp")
        return None

    def peers(self, job: Job) -> Iterator[tuple[Job, bool]]:
        """Yield each job at the other end of an ICE session of *job*, and whether *job* controls (it calls)."""
        for call in self._plan.calls:
            caller = self._end_of_ice(call.party)
            for callee in map(self._end_of_ice, call.answerers):
                if caller is not None and callee is not None and job.name in (caller.name, callee.name):
                    yield (callee, True) if job.name == caller.name else (caller, False)

    def pairs(self, job: Job, peer: Job, *, controls: bool) -> tuple[RelayedPair, ...]:
        """Return the pairs with a relay between *job* and *peer*, the one that ICE prefers first."""
        theirs = RelayedPair(
            self.relayed(peer), self.given(peer), f"{job.name}'s own address with {peer.name}'s relayed one"
        )
        mine = RelayedPair(self.given(job), self.relayed(job), f"{job.name}'s relayed address with {peer.name}'s own")
        ours, others = self.relayed(job), self.relayed(peer)
        between = (ours, others) if ours is not None and others is not None else None
        both = RelayedPair(self.given(job), self.given(peer), "two relayed addresses", between)
        return (theirs, mine, both) if controls else (mine, theirs, both)

    def _end_of_ice(self, name: str) -> Job | None:
        """Return who ends the ICE session of a party or server: for a telephone the Mediation Server before it."""
        job = self._jobs.get(name)
        if job is None or job.program != "phone":
            return job
        return next((other for other in self._plan.jobs if other.program == "mediation"), None)


def _rungs(relay: dict[str, str], client: Job) -> list[Target]:
    """Return the ways to *relay* in the order in which *client* tries them."""
    side = "internal_address" if client.arguments.get("relay_side") == "internal" else "address"
    rungs = []
    for transport in client.arguments.get("turn_transports", ("udp",)):
        protocol: Protocol = "udp" if transport == "udp" else "tcp"
        payload: Payload = "tls" if transport == "tls" else "stun"
        rungs.append(Target(IPv4Address(relay[side]), int(relay[f"{protocol}_port"]), protocol, payload))
    return rungs
