"""Changes made while the calls were up: a run cut at them, each stretch judged by its own legs, and what they did.

The legs of the scenario hold until the first change, those of a change from when it must have settled to the next one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from testbed.analysis.audio import Aftermath, aftermath, audio_between_parties
from testbed.analysis.legs import LegTraffic
from testbed.analysis.run import Json, Run
from testbed.plan.model import Phase
from testbed.scenario import During
from testbed.verdict.checks import Check
from testbed.verdict.health import is_late
from testbed.verdict.legs import LegJudgement

_UNDER_WAY_NS: Final = 500_000_000
"Packets sent this shortly before a change may be caught by it: they are nobody's proof."
_END_OF_TIME: Final = 1 << 62
_ORDERLY: Final = ("hangup", "remote-hangup", "stopped")
"Causes of a call's end that have nothing to do with a change."
_TOLD: Final = {"consent-lost": "consent_lost_ms", "terminated": "call_end_ms", "ice-restarted": "ice_restarted_ms"}
"Events of agents that a change is followed by, and their figures."


@dataclass(frozen=True, slots=True)
class Stretch:
    """The run between one change and the next."""

    number: int
    phase: Phase
    during: During
    made: Json | None
    "As emulation.json has it; None where the change was never made."
    run: Run
    "Of the packets sent once the change must have settled."
    until_ns: int
    "When the next change was made."

    @property
    def name(self) -> str:
        """How a reader calls it."""
        return f"{self.phase.at_ns / 1e9:g} s into the call: {self.phase.why}"


def before_changes(run: Run) -> Run:
    """Return *run* up to the first change, or as it is where none was made."""
    first = next(iter(_made(run)), None)
    return run if first is None else replace(run, span=(0, first["began_ns"] - _UNDER_WAY_NS))


def stretches(run: Run) -> Iterator[Stretch]:
    """Yield the stretch after each change of the plan, made or not."""
    made: list[Json | None] = [*_made(run)]
    made += [None] * (len(run.plan.phases) - len(made))
    begins = [each["began_ns"] for each in made if each is not None] + [_END_OF_TIME]
    for number, (phase, during) in enumerate(zip(run.plan.phases, run.scenario.during, strict=True)):
        change = made[number]
        until_ns = _END_OF_TIME if change is None else begins[number + 1]
        settled_ns = _END_OF_TIME if change is None else change["began_ns"] + phase.within_ns
        part = replace(
            run,
            span=(settled_ns, until_ns - _UNDER_WAY_NS),
            plan=run.plan.model_copy(update={"predicted": phase.predicted}),
            scenario=run.scenario.model_copy(update={"legs": during.legs}),
        )
        yield Stretch(number, phase, during, change, part, until_ns)


def _made(run: Run) -> Sequence[Json]:
    return [each for each in run.emulation.get("during") or () if each.get("began_ns")]


def never_judged(stretch: Stretch) -> list[LegJudgement]:
    """Return the legs of a change that was never made, in doubt."""
    found = []
    for leg in stretch.during.legs:
        judgement = LegJudgement(leg, LegTraffic(leg, frozenset(), frozenset()), disposition="NEVER_SENT")
        judgement.doubts.append("the change that it follows was never made")
        found.append(judgement)
    return found


def judge_change(run: Run, stretch: Stretch) -> Check:
    """Judge whether routing did as planned and audio was silent no longer (nor shorter) than allowed; tell how long."""
    limits = stretch.during.gap
    expected: dict[str, Any] = {"routes": f"as planned within {stretch.phase.within_ns / 1e9:g} s"}
    if limits is not None:
        expected["longest_silence_ms"] = [limit / 1e6 for limit in limits]
    if stretch.made is None:
        reason = f"{stretch.name}: never made, because the calls were not up then"
        return Check("during", expected, None, "INCONCLUSIVE", reason)
    change = stretch.made
    began_ns = change["began_ns"]
    settled_ns = change.get("settled_ns")
    effects = {audio.title: aftermath(run, audio, began_ns, stretch.until_ns) for audio in audio_between_parties(run)}
    agents = _told_by_agents(run, began_ns, stretch.until_ns)
    observed = {
        "began_ns": began_ns,
        "settled_ms": None if settled_ns is None else _ms(settled_ns - began_ns),
        "audio": {title: _figures(effect) for title, effect in effects.items()},
        "agents": agents,
    }
    evidence = tuple(_routes(change))
    story = "; ".join([stretch.name, _settling(observed["settled_ms"]), *_sentences(effects), *_agent_words(agents)])
    if settled_ns is None:
        missing = (change.get("missing") or ["nothing was looked at"])[0]
        reason = f"routes were not as planned {stretch.phase.within_ns / 1e9:g} s after it: {missing}; {story}"
        return Check("during", expected, observed, "FAIL", reason, evidence)
    if limits is not None and (fault := _silence_fault(effects, limits)):
        if is_late(run) and not _is_too_short(effects, limits):
            return Check("during", expected, observed, "INCONCLUSIVE", f"{fault}, but the rig was too slow", evidence)
        return Check("during", expected, observed, "FAIL", f"{fault}; {story}", evidence)
    return Check("during", expected, observed, "PASS", story, evidence)


def _is_too_short(effects: dict[str, Aftermath], limits: tuple[int, int]) -> bool:
    """Whether no silence was as long as it had to be: a slow rig can make one longer, never shorter."""
    return max((_silence_ns(effect) for effect in effects.values()), default=0) < limits[0]


def _silence_ns(effect: Aftermath) -> int:
    return _END_OF_TIME if effect.is_for_good else effect.silence_ns or 0


def _silence_fault(effects: dict[str, Aftermath], limits: tuple[int, int]) -> str:
    """Return in which direction audio was silent for too long, or that it never was for long enough."""
    for title, effect in effects.items():
        if effect.is_for_good:
            return f"{title} was never heard again"
    longest = max((_silence_ns(effect) for effect in effects.values()), default=0)
    if limits[0] <= longest <= limits[1]:
        return ""
    allowed = f"{_ms(limits[0]):g} to {_ms(limits[1]):g} ms"
    return f"the longest silence was {_ms(longest):g} ms, and may be {allowed}"


def _figures(effect: Aftermath) -> dict[str, Any]:
    return {
        "sent": effect.sent,
        "lost": effect.lost,
        "first_lost_ms": _ms(effect.first_lost_ns),
        "silent_from_ms": _ms(effect.silent_from_ns),
        "silence_ms": _ms(effect.silence_ns),
        "back_ms": _ms(effect.back_ns),
        "ways": [{"from_ms": _ms(when), "links": list(links)} for when, links in effect.ways],
    }


def _ms(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else round(duration_ns / 1e6, 3)


def _told_by_agents(run: Run, began_ns: int, until_ns: int) -> dict[str, dict[str, float | None]]:
    """Return, per party, when it said what; the first time of each after the change."""
    found: dict[str, dict[str, float | None]] = {}
    for event in run.events or ():
        figure = _TOLD.get(str(event.get("event")))
        if (
            figure
            and event.get("cause") not in _ORDERLY
            and event.get("agent") in run.scenario.parties
            and began_ns <= event["t_ns"] < until_ns
        ):
            found.setdefault(str(event["agent"]), {}).setdefault(figure, _ms(event["t_ns"] - began_ns))
    return found


def _settling(settled_ms: float | None) -> str:
    return "routes did not settle" if settled_ms is None else f"routes settled after {settled_ms:.0f} ms"


def _sentences(effects: dict[str, Aftermath]) -> Iterator[str]:
    for title, effect in effects.items():
        lost = f"{effect.lost} packets lost" if effect.lost else "no packet lost"
        if effect.first_lost_ns is not None:
            lost += f", the first {effect.first_lost_ns / 1e6:.0f} ms after it"
        if effect.is_for_good:
            yield f"{title}: {lost}, never heard again"
        elif effect.silence_ns is not None:
            yield f"{title}: {lost}, silent for at most {effect.silence_ns / 1e6:.0f} ms"
        else:
            yield f"{title}: {lost}"
        if moved := [when for when, _ in effect.ways[1:]]:
            yield (
                f"its way changed {len(moved)} times"
                if len(moved) > 1
                else f"another way from {moved[0] / 1e6:.0f} ms on"
            )


def _agent_words(agents: dict[str, dict[str, float | None]]) -> Iterator[str]:
    words = {"consent_lost_ms": "lost consent", "ice_restarted_ms": "had ICE anew", "call_end_ms": "ended the call"}
    for name, told in agents.items():
        for figure, word in words.items():
            if (when := told.get(figure)) is not None:
                yield f"{name} {word} after {when / 1000:.2f} s"


def _routes(change: Json) -> Iterator[str]:
    for route in change.get("routes") or ():
        before, after = route["before"] or "none", route["after"] or "none"
        yield f"{route['node']}: {route['prefix']} via {before}, then {after}"
