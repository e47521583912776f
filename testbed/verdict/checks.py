"""Checks besides paths, and two of them: whether media reached every participant, and who hears whom."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Final

from testbed.analysis.legs import MEDIA
from testbed.analysis.run import Json, Run
from testbed.analysis.tls import KEY_LOG
from testbed.scenario import Call, Verdict
from testbed.verdict.conversations import Conversation
from testbed.verdict.health import is_late

SIGNED_IN: Final = "signed-in"
HEARD_DBOV: Final = -50.0
"A party's tone counts as heard from this level on: far over G.711's quantising noise, far under a tone played whole."
TONE_TOLERANCE_HZ: Final = 10
"Agents tell a tone's frequency to the nearest 10 Hz."


@dataclass(frozen=True, slots=True)
class Check:
    """One entry of `checks` in verdict.json."""

    check: str
    expected: Any
    observed: Any
    verdict: Verdict
    reason: str
    evidence: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return it as verdict.json has it."""
        return {
            "check": self.check,
            "expected": self.expected,
            "observed": self.observed,
            "verdict": self.verdict,
            "reason": self.reason,
            "evidence": list(self.evidence),
        }


def judge_heard(run: Run, spoken: Sequence[Conversation]) -> Check:
    """Judge whether media went to and came from every participant of every call."""
    streams = [each for each in spoken if each.media != "file-transfer"]
    sent = _totals((each.sender.node, each.packets) for each in streams)
    received = _totals((each.receiver.node, each.packets) for each in streams)
    names = list(dict.fromkeys(name for call in run.scenario.calls for name in participants(call)))
    node_of = {name: party.node for name, party in run.scenario.parties.items()}
    observed = {
        name: {"sent": sent.get(node_of[name], 0), "received": received.get(node_of[name], 0)} for name in names
    }
    expected = {name: "sends and receives media" for name in names}
    silent = next((name for name, counts in observed.items() if not all(counts.values())), None)
    if silent is None:
        return Check("heard", expected, observed, "PASS", "media went to and came from every participant")
    lacking = "received" if not observed[silent]["received"] else "sent"
    what = f"{silent} {lacking} no media that went from end to end"
    media_gaps = any(walk.gaps for walk in run.walks.walks if walk.kind in MEDIA)
    nothing = not any(walk.kind in MEDIA for walk in run.walks.walks)
    if run.sealed_tls:
        told = f"{what}: {KEY_LOG} does not open what was said inside TLS"
        return Check("heard", expected, observed, "INCONCLUSIVE", told)
    if media_gaps or (nothing and run.incomplete):
        name = sorted(run.incomplete)[0] if run.incomplete else ""
        why = f": capture of link {name} {run.incomplete[name]}" if name else ""
        return Check("heard", expected, observed, "INCONCLUSIVE", f"{what}{why}")
    return Check("heard", expected, observed, "FAIL", what)


def _totals(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for name, count in counts:
        totals[name] = totals.get(name, 0) + count
    return totals


def participants(call: Call) -> tuple[str, ...]:
    """Return the parties of *call*."""
    return tuple(name for name in (call.caller, call.callee, *call.participants) if name is not None)


def judge_signed_in(run: Run, events: Sequence[Json]) -> Check:
    """Judge by what agents said whether each client got in at its server: registered, and trusting its certificate."""
    clients = [job.name for job in run.plan.jobs if job.program in ("client", "rest_client")]
    observed: dict[str, str | None] = {name: _sign_in(events, name) for name in clients}
    expected = {name: "ready" for name in clients}
    failed = [f"{name}: {told}" for name, told in observed.items() if told not in (None, "ready")]
    silent = [name for name, told in observed.items() if told is None]
    if failed and is_late(run) and all("timeout" in told for told in failed):
        reason = f"{failed[0]}, but the rig was too slow for that to tell"
        return Check(SIGNED_IN, expected, observed, "INCONCLUSIVE", reason, tuple(failed))
    if failed:
        return Check(SIGNED_IN, expected, observed, "FAIL", failed[0], tuple(failed))
    if silent:
        reason = f"{silent[0]} said neither that it is ready nor what is wrong"
        return Check(SIGNED_IN, expected, observed, "INCONCLUSIVE", reason)
    return Check(SIGNED_IN, expected, observed, "PASS", "every client was ready")


def _sign_in(events: Iterable[Json], name: str) -> str | None:
    """Return "ready", or what agent *name* said is wrong, whichever came first; None where it said neither."""
    for event in events:
        if event.get("agent") == name and event.get("line") in ("ready", "error"):
            return str(event.get("what")) if event["line"] == "error" else "ready"
    return None


def judge_audio(run: Run, events: Sequence[Json]) -> Check:
    """Judge by the tones that agents measured whether each participant hears each other one."""
    observed: dict[str, dict[str, float | None]] = {}
    deaf, unknown = [], []
    for call in run.scenario.calls:
        if "audio" not in call.media:
            continue
        for listener, speaker in permutations(participants(call), 2):
            was_measured, level = _level(run, events, listener, speaker)
            observed.setdefault(listener, {})[speaker] = level
            if not was_measured:
                unknown.append(f"{listener} measured no audio")
            elif level is None or level < HEARD_DBOV:
                told = "no tone" if level is None else f"{level:.1f} dBov"
                deaf.append(f"{listener} does not hear {speaker} ({told})")
    expected = f"each hears each other at {HEARD_DBOV:g} dBov or more"
    # A slow rig can swallow a tone, never make one: it takes the certainty from what is missing only.
    if deaf and is_late(run):
        reason = f"{deaf[0]}, but the rig was too slow for that to tell"
        return Check("audio", expected, observed, "INCONCLUSIVE", reason, tuple(deaf))
    if deaf:
        return Check("audio", expected, observed, "FAIL", deaf[0], tuple(deaf))
    if unknown:
        return Check("audio", expected, observed, "INCONCLUSIVE", unknown[0], tuple(dict.fromkeys(unknown)))
    return Check("audio", expected, observed, "PASS", "every participant hears every other")


def _level(run: Run, events: Iterable[Json], listener: str, speaker: str) -> tuple[bool, float | None]:
    """Return whether *listener* measured audio, and the highest level of *speaker*'s tone over its calls.

    An agent names a tone by its player where it was told who plays what, else by its frequency in hertz.
    """
    plays = next((job.arguments.get("tone_hz") for job in run.plan.jobs if job.name == speaker), None)
    measured, heard = False, list[float]()
    for told in calls_told(events, listener):
        audio = told.get("audio") or {}
        measured |= audio.get("received_level_dbov") is not None
        for name, level in (audio.get("tone_hz") or {}).items():
            if isinstance(level, int | float) and (name == speaker or _is_tone(name, plays)):
                heard.append(float(level))
    return measured, max(heard, default=None)


def _is_tone(name: str, plays: object) -> bool:
    return name.isdigit() and isinstance(plays, int) and abs(int(name) - plays) <= TONE_TOLERANCE_HZ


def calls_told(events: Iterable[Json], name: str) -> Iterable[Json]:
    """Yield the calls in the results of agent *name*; the world adds "agent" and may wrap the agent's own line."""
    for event in events:
        if event.get("agent") != name and event.get("name") != name:
            continue
        line = event.get("line") if isinstance(event.get("line"), dict) else event
        if isinstance(line, dict):
            yield from (call for call in line.get("calls") or () if isinstance(call, dict))
