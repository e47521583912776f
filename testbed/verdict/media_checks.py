"""Checks of calls with more than sound: each kind goes both ways, and everybody sees and gets what others share."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations
from typing import Any, Final

from testbed.analysis.run import Json, Run
from testbed.scenario import Call
from testbed.topology import MediaKind
from testbed.verdict.checks import Check, calls_told, participants
from testbed.verdict.conversations import Conversation
from testbed.verdict.health import is_late

_PICTURES: Final[tuple[MediaKind, ...]] = ("video", "application-sharing")
_LEAST_PICTURES: Final = 2
"Pictures of somebody that prove a stream: one alone might be left over from before the other side was lost."


def judge_kinds(run: Run, spoken: Sequence[Conversation]) -> list[Check]:
    """Judge whether each kind of media went to and came from every participant; no check where there is only sound."""
    wanted = [(name, kind) for call in run.scenario.calls for name in participants(call) for kind in call.media]
    if all(kind == "audio" for _, kind in wanted):
        return []
    observed: dict[str, dict[str, dict[str, int]]] = {}
    missing = []
    for name, kind in wanted:
        node = run.scenario.parties[name].node
        mine = [each for each in spoken if each.media == kind]
        counts = {
            "sent": sum(each.packets for each in mine if each.sender.node == node),
            "received": sum(each.packets for each in mine if each.receiver.node == node),
        }
        observed.setdefault(name, {})[kind] = counts
        missing += [f"{name} {way} no {kind} that went from end to end" for way, count in counts.items() if not count]
    expected = "each participant sends and receives each kind of media of its call"
    if not missing:
        return [Check("kinds", expected, observed, "PASS", "each kind went to and came from every participant")]
    if run.incomplete:
        name = sorted(run.incomplete)[0]
        reason = f"{missing[0]}: capture of link {name} {run.incomplete[name]}"
        return [Check("kinds", expected, observed, "INCONCLUSIVE", reason, tuple(missing))]
    return [Check("kinds", expected, observed, "FAIL", missing[0], tuple(missing))]


def judge_shared(run: Run, events: Sequence[Json]) -> list[Check]:
    """Judge by what agents decoded and received whether each has the pictures and the files of each other."""
    checks = [_judge_seen(run, events, kind) for kind in _PICTURES if _calls_with(run, kind)]
    return [*checks, *([_judge_files(run, events)] if _calls_with(run, "file-transfer") else [])]


def _calls_with(run: Run, kind: MediaKind) -> list[Call]:
    return [call for call in run.scenario.calls if kind in call.media]


def _pairs(run: Run, kind: MediaKind) -> Iterator[tuple[str, str]]:
    for call in _calls_with(run, kind):
        yield from permutations(participants(call), 2)


def _told(events: Iterable[Json], name: str, kind: MediaKind) -> list[Json]:
    media = [(told.get("media") or {}).get(kind) for told in calls_told(events, name)]
    return [each for each in media if each]


def _judge_seen(run: Run, events: Sequence[Json], kind: MediaKind) -> Check:
    observed: dict[str, dict[str, int]] = {}
    blind, unknown = [], []
    for viewer, sender in _pairs(run, kind):
        told = [each["seen"] for each in _told(events, viewer, kind) if "seen" in each]
        if not told:
            unknown.append(f"{viewer} told nothing of {kind}")
            continue
        count = sum(int(seen.get(sender, 0)) for seen in told)
        observed.setdefault(viewer, {})[sender] = count
        if count < _LEAST_PICTURES:
            blind.append(f"{viewer} does not see {sender} ({count} pictures)")
    expected = f"each decodes {_LEAST_PICTURES} pictures or more of each other"
    return _check(run, kind, expected, observed, blind, unknown, "every participant sees every other")


def _judge_files(run: Run, events: Sequence[Json]) -> Check:
    observed: dict[str, dict[str, str]] = {}
    wrong, unknown = [], []
    for receiver, sender in _pairs(run, "file-transfer"):
        told = [each for each in _told(events, receiver, "file-transfer") if "received" in each]
        if not told:
            unknown.append(f"{receiver} told nothing of files")
            continue
        word = _file_word(run, events, sender, [file for each in told for file in each["received"]])
        observed.setdefault(receiver, {})[sender] = word
        if word != "whole":
            wrong.append(f"{receiver} has {sender}'s file {word}")
    expected = "each receives the file of each other, with the sender's SHA-256"
    return _check(run, "file-transfer", expected, observed, wrong, unknown, "every participant has every other's file")


def _file_word(run: Run, events: Sequence[Json], sender: str, received: Sequence[Json]) -> str:
    """Say what became of *sender*'s file: whole is one of the size and the hash that its sender told."""
    mine = [file for file in received if file.get("from") == sender]
    if not mine:
        return "not at all"
    sent = [file for each in _told(events, sender, "file-transfer") for file in each.get("sent") or ()]
    size = run.scenario.parties[sender].file_bytes
    hashes = {file.get("sha256") for file in sent if file.get("from") == sender and file.get("bytes") == size}
    whole = any(file.get("bytes") == size and file.get("sha256") in hashes for file in mine)
    return "whole" if whole else f"damaged ({mine[0].get('bytes')} of {size} bytes, or another hash)"


def _check(
    run: Run, name: str, expected: str, observed: Any, wrong: list[str], unknown: list[str], right: str
) -> Check:
    # A slow rig can hold back a picture or a file, never make one.
    if wrong and is_late(run):
        reason = f"{wrong[0]}, but the rig was too slow for that to tell"
        return Check(name, expected, observed, "INCONCLUSIVE", reason, tuple(wrong))
    if wrong:
        return Check(name, expected, observed, "FAIL", wrong[0], tuple(wrong))
    if unknown:
        return Check(name, expected, observed, "INCONCLUSIVE", unknown[0], tuple(dict.fromkeys(unknown)))
    return Check(name, expected, observed, "PASS", right)
