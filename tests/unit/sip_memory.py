"""SIP elements joined in memory: datagrams lost and delayed by a seed, NAT, and a clock that jumps on to timers."""

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from agents.sip.hop import Hop, Listen, TransportName
from agents.sip.transport import Endpoint, Flow

T = TypeVar("T")
DELAY_S = 0.02


class _JumpingSelector(selectors.SelectSelector):
    """Waits for nothing: when no socket is ready, the clock moves on to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing is left that could ever happen")
        if not ready and timeout:
            self.now_s += max(timeout, 1e-6)
        return ready


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now_s


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* on a clock of its own that starts at 0 and never waits."""
    with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
        return runner.run(work)


class Wire:
    """Carries datagrams between addresses."""

    def __init__(self, *, seed: int = 0, loss_ratio: float = 0.0) -> None:
        self._random = random.Random(seed)
        self._loss_ratio = loss_ratio
        self._networks: dict[str, MemoryNetwork] = {}
        self._nat: dict[str, str] = {}
        self._admitted: set[tuple[str, str]] = set()
        self.sent: list[tuple[float, Endpoint, Endpoint, bytes]] = []
        "Time, source, destination and bytes of every datagram, lost ones too; addresses as the sender saw them."

    def attach(self, address: str, *, behind: str = "") -> "MemoryNetwork":
        """Return the network of an element at *address*; *behind* is the public address of the NAT before it."""
        self._networks[address] = network = MemoryNetwork(self, address)
        if behind:
            self._nat[address] = behind
        return network

    def send(self, source: Endpoint, destination: Endpoint, data: bytes) -> None:
        """Take one datagram."""
        loop = asyncio.get_running_loop()
        self.sent.append((loop.time(), source, destination, data))
        if (public := self._nat.get(source[0])) is not None:
            self._admitted.add((public, destination[0]))
            source = (public, source[1] + 10_000)
        if self._random.random() >= self._loss_ratio:
            loop.call_later(DELAY_S * (1 + self._random.random()), self._deliver, source, destination, data)

    def _deliver(self, source: Endpoint, destination: Endpoint, data: bytes) -> None:
        for private, public in self._nat.items():
            if destination[0] == private:
                return  # a private address is not reachable from outside
            if destination[0] == public:
                if (public, source[0]) not in self._admitted:
                    return
                destination = (private, destination[1] - 10_000)
                break
        if (network := self._networks.get(destination[0])) is not None:
            network.deliver(data, source, destination)


class MemoryFlow:
    """Two endpoints on a wire."""

    transport: TransportName = "udp"
    is_open = True

    def __init__(self, wire: Wire, local: Endpoint, remote: Endpoint) -> None:
        self.local, self.remote, self._wire = local, remote, wire

    def send(self, data: bytes) -> None:
        self._wire.send(self.local, self.remote, data)

    def give_up(self) -> None:
        self.is_open = False


class MemoryNetwork:
    """One element's place on a wire; it has one port."""

    def __init__(self, wire: Wire, address: str) -> None:
        self.on_message: Callable[[bytes, Flow], None] = lambda data, flow: None
        self.on_lost: Callable[[Flow], None] = lambda flow: None
        self._wire = wire
        self._local = (address, 5060)

    async def listen(self, listen: Listen) -> None:
        self._local = (self._local[0], listen.port)

    async def flow_to(self, hop: Hop) -> Flow:
        return MemoryFlow(self._wire, self._local, (hop.address, hop.port))

    async def close(self) -> None:
        self.on_message = lambda data, flow: None

    def port_of(self, flow: Flow) -> int:
        return flow.local[1]

    def find(self, transport: TransportName, remote: Endpoint, local_address: str) -> Flow | None:
        return MemoryFlow(self._wire, self._local, remote)

    def deliver(self, data: bytes, source: Endpoint, destination: Endpoint) -> None:
        self.on_message(data, MemoryFlow(self._wire, destination, source))
