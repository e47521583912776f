"""A diagnosis in words: a line a pair, then what is wrong and the change that mends it."""

from collections.abc import Iterator

from testbed.plan.diagnosis import Cure, Diagnosis, Finding, is_asymmetric_death
from testbed.topology import Topology


def diagnosis_lines(diagnosis: Diagnosis, topology: Topology) -> list[str]:
    """Return the diagnosis as plain lines."""
    lines = [line for finding in diagnosis.findings for line in _finding_lines(finding, topology)]
    sick = [finding for finding in diagnosis.findings if is_asymmetric_death(finding)]
    asymmetric = [finding for finding in diagnosis.findings if finding.return_ and not finding.is_symmetric]
    lines += ["", f"{len(diagnosis.findings)} pairs, {len(asymmetric)} asymmetric, {len(sick)} die of it"]
    told: set[str] = set()
    for finding in sick:
        cure = diagnosis.cures[finding.pair.title]
        if cure is None:
            lines += ["", f"{finding.pair.title}: no change of announcements or source NAT was found that mends it"]
        elif cure.words not in told:
            told.add(cure.words)
            lines += ["", *_cure_lines(cure)]
    return lines


def as_json(diagnosis: Diagnosis, topology: Topology) -> list[dict[str, object]]:
    """Return the diagnosis as `testbed diagnose --json` prints it."""
    rows: list[dict[str, object]] = []
    for finding in diagnosis.findings:
        cure = diagnosis.cures.get(finding.pair.title)
        rows.append(
            {
                "client": finding.pair.client,
                "service": finding.pair.service,
                "protocol": finding.pair.protocol,
                "port": finding.pair.port,
                "forward": list(finding.forward),
                "return": list(finding.return_),
                "forward_kinds": _kinds(finding.forward, topology),
                "return_kinds": _kinds(finding.return_, topology),
                "symmetric": finding.is_symmetric if finding.return_ else None,
                "end": finding.end,
                "half_seen_by": list(finding.half_seen_by),
                "cure": None if cure is None else _cure_json(cure),
            }
        )
    return rows


def _finding_lines(finding: Finding, topology: Topology) -> Iterator[str]:
    if finding.return_:
        word = "symmetric" if finding.is_symmetric else "ASYMMETRIC"
        ways = f"{'-'.join(_kinds(finding.forward, topology))} / {'-'.join(_kinds(finding.return_, topology))}"
    else:
        word, ways = "no answer", "-".join(_kinds(finding.forward, topology))
    yield f"{word:10}  {finding.pair.title}: {ways}: {finding.end}"
    if finding.half_seen_by:
        yield f"{'':10}    half of it is seen by {', '.join(finding.half_seen_by)}"


def _cure_lines(cure: Cure) -> Iterator[str]:
    yield f"Suggested: {cure.words}"
    for key, value in cure.change.set.items():
        yield f"  set    {key} = {value}"
    for key in cure.change.remove:
        yield f"  remove {key}"
    for name, titles in (("mends", cure.mends), ("would break", cure.breaks), ("would move", cure.moves)):
        yield f"  {name}: {'; '.join(titles) or 'nothing else' if name != 'mends' else '; '.join(titles)}"


def _cure_json(cure: Cure) -> dict[str, object]:
    return {
        "words": cure.words,
        "set": cure.change.set,
        "remove": list(cure.change.remove),
        "mends": list(cure.mends),
        "breaks": list(cure.breaks),
        "moves": list(cure.moves),
    }


def _kinds(links: tuple[str, ...], topology: Topology) -> list[str]:
    return list(dict.fromkeys(str(topology.segments[topology.links[name].segment].kind) for name in links))
