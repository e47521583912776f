"""Traffic that competes with calls: iperf3 sends to its server elsewhere, from when it is told to until it is stopped.

Job: `{"to": {"address", "port"}, "protocol": "udp" | "tcp", "rate_bps", "flows", "payload_bytes", "dscp", "limit_s"}`:
the rate is that of each flow's payload, `payload_bytes` that of a UDP packet, `limit_s` ends it if nobody does.
Commands: `{"do": "send"}`, once, then `{"do": "stop"}`.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from agents.child import ChildProgram, serve_until_told
from agents.pace import LoopLag
from agents.process import Say
from agents.stock import stop_command

PROGRAM: Final = "iperf3"


@dataclass(frozen=True, slots=True)
class Settings:
    """The job."""

    address: str
    port: int
    protocol: str
    rate_bps: int
    flows: int
    payload_bytes: int | None
    dscp: int
    limit_s: int

    @classmethod
    def from_job(cls, job: Mapping[str, Any]) -> Self:
        """Read the job; raise ValueError where a key is missing or wrong."""
        try:
            settings = cls(
                address=str(job["to"]["address"]),
                port=int(job["to"]["port"]),
                protocol=str(job["protocol"]),
                rate_bps=int(job["rate_bps"]),
                flows=int(job["flows"]),
                payload_bytes=job["payload_bytes"],
                dscp=int(job["dscp"]),
                limit_s=int(job["limit_s"]),
            )
        except KeyError as missing:
            raise ValueError(f"the job of traffic needs the key {missing}") from None
        if settings.protocol not in ("tcp", "udp"):
            raise ValueError(f"protocol: must be 'tcp' or 'udp', not {settings.protocol!r}")
        return settings

    def arguments(self) -> list[str]:
        """Return iperf3's arguments. Its payload is a fixed pattern: a random one may look like any protocol's."""
        words = ["--client", self.address, "--port", str(self.port), "--bitrate", str(self.rate_bps)]
        words += ["--parallel", str(self.flows), "--time", str(self.limit_s), "--dscp", str(self.dscp)]
        words += ["--interval", "0", "--repeating-payload"]
        return words + (["--udp", "--length", str(self.payload_bytes)] if self.protocol == "udp" else [])


async def main(job: Mapping[str, Any], commands: AsyncIterator[dict[str, Any]], say: Say) -> None:
    """Wait for the word, then send until told to stop. Raises ChildFailure (iperf3 ended), ValueError (wrong job)."""
    settings, lag = Settings.from_job(job), LoopLag()
    say({"type": "ready"})
    if await _is_told_to_send(commands):
        child = ChildProgram(PROGRAM, PROGRAM)
        try:
            await child.start(settings.arguments(), directory=Path("/"), serves=_at_once(), what="it runs", limit_s=5)
            say({"type": "event", "event": "sending", "to": settings.address, "protocol": settings.protocol})
            await serve_until_told(child, stop_command(commands))
        finally:
            await child.stop()
    say({"type": "result", "loop_lag_ns": lag.stop()})


async def _is_told_to_send(commands: AsyncIterator[dict[str, Any]]) -> bool:
    """Return whether to send; not where the end comes before the word."""
    async for command in commands:
        if command.get("do") in ("send", "stop"):
            return bool(command["do"] == "send")
    return False


async def _at_once() -> None:
    """Return; iperf3 sends as soon as it runs, and says so to nobody."""
    await asyncio.sleep(0)
