"""Which Edge carries a party's media: the candidate pair that ICE selects, as far as routes and policies tell.

Pairs are tried as RFC 8445 section 6.1.2.3 orders them. Of those with one relay, the pair of the controlling side's own
address with the other side's relayed address comes first: then the caller's media goes straight to the other's Edge.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address

from testbed.plan.model import Job, Plan
from testbed.plan.policy import Protocol

TURN_PORT = 3478


@dataclass(frozen=True, slots=True)
class Target:
    """An address and port that packets are sent to."""

    address: IPv4Address
    port: int
    protocol: Protocol


class Relays:
    """The TURN servers that a plan's jobs are given, and who talks to whom."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._jobs = {job.name: job for job in plan.jobs}

    def given(self, job: Job) -> Target | None:
        """Return the TURN address that a client is given by its Front End, or that a server's job names."""
        relay = job.arguments.get("relay")
        if isinstance(relay, dict):
            return Target(IPv4Address(relay["address"]), int(relay.get("udp_port", TURN_PORT)), "udp")
        uri = job.arguments.get("uri")
        for front_end in self._plan.jobs:
            relays, turn = front_end.arguments.get("relays"), front_end.arguments.get("relay_of") or {}
            if relays and uri in turn:
                return _turn_address(relays[int(turn[uri])], job)
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

    def peer(self, name: str) -> tuple[Job, bool] | None:
        """Return the job at the other end of the media of party *name*, and whether the party controls (it calls)."""
        for call in self._plan.calls:
            if call.party == name:
                others = [self._beyond(answerer) for answerer in call.answerers]
                return next(((other, True) for other in others if other is not None), None)
            if name in call.answerers and call.party in self._jobs:
                return self._jobs[call.party], False
        return None

    def _beyond(self, answerer: str) -> Job | None:
        """Return who ends the ICE session: for a telephone the Mediation Server before it."""
        job = self._jobs.get(answerer)
        if job is None or job.program != "phone":
            return job
        return next((other for other in self._plan.jobs if other.program == "mediation"), None)


def _turn_address(relay: dict[str, str], client: Job) -> Target:
    protocol: Protocol = client.arguments.get("turn_transport", "udp")
    side = "internal_address" if client.arguments.get("relay_side") == "internal" else "address"
    return Target(IPv4Address(relay[side]), int(relay[f"{protocol}_port"]), protocol)
