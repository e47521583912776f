"""What is told in words: verdict, legs, checks, principles, and which streams and links there were at all."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from testbed.comparison.model import Changed, Kind
from testbed.comparison.sides import Document, Side

CHOICE: Final = "ICE chooses"
_GONE: Final = "not there"


def verdict_changes(one: Side, other: Side) -> Iterator[Changed]:
    """Yield the verdict, if it differs, with its reasons."""
    if one.verdict["verdict"] != other.verdict["verdict"]:
        words = [f"{side.verdict['verdict']} ({side.verdict.get('reason')})" for side in (one, other)]
        yield Changed("verdict", "verdict", *words)


def leg_changes(one: Side, other: Side) -> Iterator[Changed | str]:
    """Yield how legs differ; as a note that ICE chose another of the ways predicted."""
    before, after = _legs(one), _legs(other)
    yield from _presence("leg", before, after, lambda leg: f"{leg['verdict']}, {leg.get('disposition')}")
    for name in (name for name in before if name in after):
        yield from _leg(name, before[name], after[name])


def _legs(side: Side) -> dict[str, Document]:
    found = {}
    for leg in side.verdict.get("legs") or ():
        name = f"{leg.get('media') or leg['flow']} {leg['from']} -> {leg['to']}"
        found[f"{name}, after {leg['after']}" if leg.get("after") else name] = leg
    return found


def _leg(name: str, one: Document, other: Document) -> Iterator[Changed | str]:
    for field in ("verdict", "disposition"):
        if one.get(field) != other.get(field):
            yield Changed("leg", f"{name}: {field}", str(one.get(field)), str(other.get(field)))
    ways = [leg.get("observed") or {} for leg in (one, other)]
    changed = [
        Changed("leg", f"{name}: {words}", *(" ".join(way.get(key) or ()) or "nothing seen" for way in ways))
        for words, key in (("way there", "forward"), ("way back", "return"))
        if (ways[0].get(key) or []) != (ways[1].get(key) or [])
    ]
    if changed and _may_differ(one) and _may_differ(other):
        yield f"{name}: took another of the ways that are predicted for it; {CHOICE}"
    else:
        yield from changed


def _may_differ(leg: Document) -> bool:
    predicted = leg.get("predicted") or {}
    return predicted.get("agrees") is True and (predicted.get("alternatives") or 1) > 1


def check_changes(one: Side, other: Side) -> Iterator[Changed]:
    """Yield the checks whose verdict differs, with their reasons."""
    before, after = (_numbered(side.verdict.get("checks") or (), "check") for side in (one, other))
    yield from _presence("check", before, after, lambda check: str(check["verdict"]))
    for name in (name for name in before if name in after):
        if before[name]["verdict"] != after[name]["verdict"]:
            words = [f"{check[name]['verdict']} ({check[name].get('reason')})" for check in (before, after)]
            yield Changed("check", f"check {name}", *words)


def relay_changes(one: Side, other: Side) -> Iterator[Changed]:
    """Yield between whom media passed another number of relays, and who reached its relay by another transport."""
    before, after = _relays(one), _relays(other)
    for what in (what for what in before if what in after):
        if before[what] != after[what]:
            yield Changed("check", what, before[what], after[what])


def _relays(side: Side) -> dict[str, str]:
    observed = {check["check"]: check.get("observed") or {} for check in side.verdict.get("checks") or ()}
    numbers = observed.get("relays", {})
    used = {party: told.get("used") for party, told in observed.get("relay-transport", {}).items()}
    found = {f"relays {ends}": " or ".join(map(str, some)) or "no media" for ends, some in numbers.items()}
    return found | {f"transport to the relay of {party}": str(transport) for party, transport in used.items()}


def principle_changes(one: Side, other: Side) -> Iterator[Changed | str]:
    """Yield the principles that came out otherwise; as a note where a run could not tell for want of captures."""
    before, after = (_numbered(side.verdict.get("principles") or (), "principle") for side in (one, other))
    if not before or not after:  # judged by an older version, or the rig broke
        return
    for name in (name for name in before if name in after):
        outcomes = before[name]["outcome"], after[name]["outcome"]
        if outcomes[0] == outcomes[1]:
            continue
        if "cannot tell" in outcomes and not (one.complete and other.complete):
            yield f"principle {name}: {outcomes[0]} before and {outcomes[1]} after; a capture is incomplete"
        else:
            now = (
                f"{outcomes[1]} ({after[name]['reason']})" if outcomes[1] in ("broken", "cannot tell") else outcomes[1]
            )
            yield Changed("principle", f"principle {name}", outcomes[0], now)


def _numbered(rows: Any, key: str) -> dict[str, Document]:
    """Return rows by their name; a second one of a name, as of several changes during a call, has a number."""
    found: dict[str, Document] = {}
    for row in rows:
        same = sum(name.split(" #")[0] == row[key] for name in found)
        found[f"{row[key]} #{same + 1}" if same else row[key]] = row
    return found


def stream_changes(one: Side, other: Side) -> Iterator[Changed]:
    """Yield the streams that only one run has, or that arrived in one run only."""
    before, after = _streams(one), _streams(other)
    for name in (*before, *(name for name in after if name not in before)):
        if before.get(name, _GONE) != after.get(name, _GONE):
            yield Changed("stream", f"stream {name}", before.get(name, _GONE), after.get(name, _GONE))


def _streams(side: Side) -> dict[str, str]:
    """Return what became of each stream; by its receiver, or if none of them got anywhere, by its sender alone."""
    streams = (side.quality or {})["streams"]
    found = {f"{s['media'] or 'media'} {s['from']} -> {s['to']}": "arrived" for s in streams if s["to"] is not None}
    for stream in streams:
        if stream["to"] is None:
            found.setdefault(f"{stream['media'] or 'media'} {stream['from']} -> nobody", "arrived nowhere")
    return found


def link_changes(one: Side, other: Side, explained: str) -> Iterator[Changed]:
    """Yield the links that media passed in one run only, unless the ways of legs, told before, already say so."""
    before, after = ((side.quality or {})["links"] for side in (one, other))
    words = set(explained.split())
    gone, new = (
        [name for name in a if name not in b and name not in words] for a, b in ((before, after), (after, before))
    )
    if gone or new:
        yield Changed("link", "links with media", " ".join(gone) or "no other", " ".join(new) or "no other")


def _presence(
    kind: Kind, before: Mapping[str, Document], after: Mapping[str, Document], told: Any
) -> Iterator[Changed]:
    for name in before:
        if name not in after:
            yield Changed(kind, f"{kind} {name}", told(before[name]), _GONE)
    for name in after:
        if name not in before:
            yield Changed(kind, f"{kind} {name}", _GONE, told(after[name]))


def configured_changes(key: str, before: Any, after: Any) -> Iterator[Changed]:
    """Yield the dotted keys at which two documents differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in (*before, *(name for name in after if name not in before)):
            yield from configured_changes(f"{key}.{name}" if key else name, before.get(name), after.get(name))
    elif before != after:
        yield Changed("configured", key, _in_short(before), _in_short(after))


def _in_short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
