"""Which Edges relayed the media, how often, and the candidate pair that carried it, as the captures show them.

Both are told for every row with media, and judged where the row asks.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from testbed.analysis.run import Json, Run
from testbed.verdict.checks import Check, calls_told
from testbed.verdict.conversations import Conversation, End

_SAME_TYPE: Final = {"prflx": "srflx"}
"Seen from outside, a peer reflexive address is a server reflexive one that nobody asked a server for (RFC 8445 5.1.3)."
_NOTHING: Final = "no media was followed from end to end"


def judge_relays(run: Run, spoken: Sequence[Conversation]) -> Check:
    """Tell which relays each stream passed; judge their number where the row says how many there may be."""
    allowed = list(run.scenario.relays) or None
    heard = _of_clients(run, spoken)
    observed: dict[str, list[int]] = {}
    for each in heard:
        counts = observed.setdefault(each.title, [])
        counts += [len(each.relays)] if len(each.relays) not in counts else []
    if not heard:
        return _nothing("relays", allowed)
    evidence = _each_once(
        ((each.title, each.relays), f"{each.title}: {_relays_words(each)} (first frame {each.first_frame})")
        for each in heard
    )
    edges = ", ".join(sorted({relay.node for each in heard for relay in each.relays}))
    seen = f"{_counted(sorted({len(each.relays) for each in heard}))}{f' ({edges})' if edges else ''}"
    if allowed is None:
        return Check("relays", None, observed, "PASS", f"not asked; observed {seen}", evidence)
    wrong = next((each for each in heard if len(each.relays) not in allowed), None)
    if wrong is not None:
        reason = f"media {wrong.title} passed {_counted(observed[wrong.title])}, allowed are {_or(allowed)}"
        return Check("relays", allowed, observed, "FAIL", reason, evidence)
    return Check("relays", allowed, observed, "PASS", f"media passed {seen}, allowed are {_or(allowed)}", evidence)


def _nothing(check: str, expected: Any) -> Check:
    if expected is None:
        return Check(check, None, None, "PASS", f"not asked; {_NOTHING}")
    return Check(check, expected, None, "INCONCLUSIVE", _NOTHING)


def _relays_words(each: Conversation) -> str:
    names = [f"{relay.node} at {relay.address or 'an address that no packet tells'}" for relay in each.relays]
    return f"{_counted([len(names)])}{': ' if names else ''}{', then '.join(names)}"


def _counted(numbers: list[int]) -> str:
    return f"{_or(numbers)} {'relay' if numbers == [1] else 'relays'}"


def _or(numbers: Iterable[int]) -> str:
    return " or ".join(str(number) for number in numbers)


def _each_once(told: Iterable[tuple[object, str]]) -> tuple[str, ...]:
    """Return the first sentence about each thing."""
    first: dict[object, str] = {}
    for key, sentence in told:
        first.setdefault(key, sentence)
    return tuple(first.values())


def _of_clients(run: Run, spoken: Iterable[Conversation]) -> list[Conversation]:
    """Return the conversations of the parties that the scenario's media legs name, of all where it has none.

    What it says of relays holds for them: a companion inside the host's own network needs none, nor does a telephone.
    """
    telephones = {job.node for job in run.plan.jobs if job.program == "phone"}
    named = {end for leg in run.scenario.legs if leg.flow == "media" for end in (leg.from_, leg.to)}
    parties = run.scenario.parties
    clients = {parties[name].node for name in named & set(parties) or set(parties)} - telephones
    return [each for each in spoken if clients & {each.sender.node, each.receiver.node}]


def judge_pair(run: Run, spoken: Sequence[Conversation]) -> Check:
    """Tell the candidate pair of each stream, at both ends; judge its types where the row says which they must be."""
    wanted = run.scenario.selected_pair
    expected = list(wanted) if wanted else None
    heard = _of_clients(run, spoken)
    if not heard:
        return _nothing("selected-pair", expected)
    observed: dict[str, list[dict[str, Any]]] = {}
    for each in heard:
        told = {
            "peer": each.receiver.node,
            "local": _end_document(each.sender),
            "remote": _end_document(each.receiver),
        }
        rows = observed.setdefault(each.sender.node, [])
        rows += [told] if told not in rows else []
    shown = _each_once(
        ((each.sender, each.receiver), f"{_pair_words(each)}, first frame {each.first_frame}") for each in heard
    )
    evidence = (*shown, *_agents_words(run, heard, spoken))
    if wanted is None:
        kinds = sorted({"-".join(sorted(_types(each))) for each in heard})
        return Check("selected-pair", None, observed, "PASS", f"not asked; observed {', '.join(kinds)}", evidence)
    right = sorted(_plain(kind) for kind in wanted)
    wrong = next((each for each in heard if sorted(_types(each)) != right), None)
    if wrong is not None:
        reason = (
            f"media {wrong.title} used the pair {'-'.join(_types(wrong))}"
            f" (first frame {wrong.first_frame}), not {'-'.join(wanted)}"
        )
        return Check("selected-pair", expected, observed, "FAIL", reason, evidence)
    reason = f"all media used the pair {'-'.join(wanted)}"
    return Check("selected-pair", expected, observed, "PASS", reason, evidence)


def _types(each: Conversation) -> tuple[str, str]:
    return each.sender.candidate, each.receiver.candidate


def _end_document(end: End) -> dict[str, Any]:
    return {"type": end.candidate, "address": end.address, "base": end.base, "edge": end.edge}


def _pair_words(each: Conversation) -> str:
    """Say what the sender's end of the pair is: its own candidate, and the far end's."""
    return f"{each.sender.node}: {_end_words(each.sender)} -> {_end_words(each.receiver)} of {each.receiver.node}"


def _end_words(end: End) -> str:
    base = f" (base {end.base})" if end.base != end.address else ""
    return f"{end.candidate} {end.address or 'at an address that no packet tells'}{base}"


def _plain(kind: str) -> str:
    return _SAME_TYPE.get(kind, kind)


def _agents_words(run: Run, heard: Iterable[Conversation], spoken: Iterable[Conversation]) -> Iterator[str]:
    """Yield what the agents at the ends say of their selected pairs, and whether the captures show it."""
    ends = {end.node for each in heard for end in (each.sender, each.receiver)}
    for job in run.plan.jobs:
        if job.node not in ends:
            continue
        mine = [each for each in spoken if each.sender.node == job.node]
        for told in calls_told(run.events or (), job.name):
            pair = told.get("selected_pair") or {}
            if not pair.get("local"):
                continue
            says = f"{job.name} says {' -> '.join(filter(None, (_told(pair, side) for side in ('local', 'remote'))))}"
            if any(_fits(pair, each) for each in mine):
                yield f"{says}, and so do the captures"
            else:
                shown = "; ".join(dict.fromkeys(map(_pair_words, mine))) or "no media of its own"
                yield f"{says}, but the captures show {shown}"


def _told(pair: Json, side: str) -> str:
    return " ".join(str(part) for part in (pair.get(side), pair.get(f"{side}_address")) if part)


def _fits(pair: Json, each: Conversation) -> bool:
    """Whether an agent's word on its pair is what the captures show; what it leaves out is not held against it."""
    # A client names the base that it sends from; that NAT changes it on the way only the captures tell.
    local, own = ({"srflx": "host"}.get(kind, kind) for kind in (_plain(pair["local"]), each.sender.candidate))
    remote, far = pair.get("remote"), each.receiver
    return (
        local == own
        and pair.get("local_address") in (None, each.sender.base, each.sender.address)
        and (remote is None or _plain(remote) == far.candidate)
        and (pair.get("remote_address") in (None, far.address) or far.address is None)
    )
