"""Which way each party's flows go, in the words of the article's cells: legs joined to ways from the party on.

What the legs say must be seen is the reading of the article; what the packets did is told in the same words beside it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, get_args

from testbed.scenario import FlowKind, Scenario

CELL_WORDS: Final = {"expressroute": "ER", "internet": "Internet", "local": "local"}
"The article's cells, as people are shown them."
NOTHING_SEEN: Final = "nothing seen"
FLOWS: Final[tuple[str, ...]] = get_args(FlowKind)
"In the order in which they are shown."
_WIDE: Final = ("expressroute", "internet")
_OTHER_WORDS: Final = {"customer": "customer", "microsoft": "Microsoft", "pstn": "PSTN"}
_INSIDE: Final = ("local", "Microsoft", NOTHING_SEEN)
_FRONT_END, _EDGE = "front-end", "edge"

Ends = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Crossing:
    """Kinds of segment that a leg's packets are on."""

    kinds: frozenset[str]
    dies: bool = False
    "Whether they end there, before the leg's end."

    @property
    def words(self) -> str:
        """Return the article's word, of packets that die with that."""
        return f"dies ({path_word(self.kinds)})" if self.dies and self.kinds else path_word(self.kinds)


@dataclass(frozen=True, slots=True)
class ReadLeg:
    """A leg, as far as the way of its packets goes."""

    flow: str
    from_: str
    to: str
    expected: Crossing
    observed: Crossing | None = None
    "None where nothing was judged."
    after: str = ""
    "The change during the call that it follows."


@dataclass(frozen=True, slots=True)
class Stage:
    """The legs of one flow between two ends: several kinds of media, or before and after a change during the call."""

    start: str
    end: str
    "Away from the party, whichever way the legs are written."
    legs: tuple[ReadLeg, ...]

    @property
    def reading(self) -> str:
        """Say which way the packets must go."""
        return _in_time((leg.after, leg.expected) for leg in self.legs)

    @property
    def observed(self) -> str | None:
        """Say which way they went; None where a leg was not judged."""
        seen = [(leg.after, leg.observed) for leg in self.legs]
        known = [(after, crossing) for after, crossing in seen if crossing is not None]
        return _in_time(known) if len(known) == len(seen) else None


@dataclass(frozen=True, slots=True)
class Way:
    """One flow of a party, from leg to leg as far as legs lead on."""

    flow: str
    party: str
    "Where it begins; a server where no party's legs lead to its own."
    stages: tuple[Stage, ...]
    home: str | None = None
    "Pool that holds the party's account."

    @property
    def reading(self) -> str:
        """Return the words of its stages: "local → ER"."""
        return _joined(stage.reading for stage in self.stages)

    @property
    def observed(self) -> str | None:
        """Return likewise what was seen; None where a stage was not judged."""
        words = [stage.observed for stage in self.stages]
        return None if None in words else _joined(word for word in words if word is not None)

    @property
    def agrees(self) -> bool | None:
        """Whether what was seen is as it is read; None where a stage was not judged."""
        words = [stage.observed for stage in self.stages]
        return None if None in words else words == [stage.reading for stage in self.stages]

    @property
    def cell(self) -> frozenset[str]:
        """Return the kinds of segment that the article's cell speaks of, as the way is read.

        Signaling is the user's own as far as its home server (principle 4), media to its other end.
        """
        return frozenset(kind for leg in self._own for kind in leg.expected.kinds)

    @property
    def cell_observed(self) -> frozenset[str] | None:
        """Return likewise those on which its packets got there; None where they did not, or nothing was judged."""
        seen = [leg.observed for leg in self._own if leg.observed is not None]
        if not seen or any(crossing.dies for crossing in seen):
            return None
        return frozenset(kind for crossing in seen for kind in crossing.kinds)

    @property
    def _own(self) -> Iterator[ReadLeg]:
        for stage in self.stages:
            yield from stage.legs
            if self.flow == "signaling" and stage.end == f"{self.home}-{_FRONT_END}":
                return


@dataclass(frozen=True, slots=True)
class PathCell:
    """What the article prints for one flow of one party, beside how that is read and what was seen."""

    flow: str
    party: str
    article: str | None
    "The article's cell, as people are shown it; None where its table has none."
    way: Way | None
    "None where no leg is about it."

    @property
    def reading(self) -> str | None:
        """Return which way its packets must go; None where no leg says."""
        return self.way.reading if self.way else None

    @property
    def observed(self) -> str | None:
        """Return which way they went; None where nothing was judged."""
        return self.way.observed if self.way else None

    @property
    def agrees(self) -> bool | None:
        """Whether the observed way is the one that is read; None where one of them is missing."""
        return self.way.agrees if self.way else None

    @property
    def article_differs(self) -> bool:
        """Whether the article's cell is not how it is read here."""
        if self.article is None or self.way is None:
            return False
        return path_word(self.way.cell) not in self.article.split(" or ")


def path_word(kinds: Iterable[str]) -> str:
    """Say, in the article's words, which way packets went that crossed these kinds of segment."""
    crossed = set(kinds)
    if not crossed:
        return NOTHING_SEEN
    wide = [CELL_WORDS[kind] for kind in _WIDE if kind in crossed]
    if wide:
        return " + ".join(wide)
    return "local" if crossed == {"customer"} else " + ".join(_OTHER_WORDS.get(kind, kind) for kind in sorted(crossed))


def read_legs(scenario: Scenario) -> list[ReadLeg]:
    """Return the legs of a scenario that nobody has run, those after its changes during the calls included."""
    stretches = [("", scenario.legs), *((f"change {n}", change.legs) for n, change in enumerate(scenario.during, 1))]
    return [
        ReadLeg(
            leg.flow,
            leg.from_,
            leg.to,
            expected_crossing(leg.crosses, leg.dies.kinds if leg.dies else None),
            after=after,
        )
        for after, legs in stretches
        for leg in legs
    ]


def expected_crossing(crosses: Iterable[str], dies: Iterable[str] | None) -> Crossing:
    """Return where a leg's packets must be; *dies*: the kinds up to where they must die, None where they must not."""
    return Crossing(frozenset(crosses)) if dies is None else Crossing(frozenset(dies), dies=True)


def observed_crossing(kinds: Iterable[str], disposition: str | None) -> Crossing:
    """Return where a leg's packets were."""
    return Crossing(frozenset(kinds), dies=disposition not in (None, "DELIVERED", "CAPTURE_INCOMPLETE", "NEVER_SENT"))


def path_cells(legs: Sequence[ReadLeg], scenario: Scenario) -> list[PathCell]:
    """Return the cells of a scenario whose legs are *legs*: party by party, signaling before media before the rest."""
    article = {
        (flow, party): " or ".join(CELL_WORDS.get(word, word) for word in cell.split(" or "))
        for flow, cells in (("signaling", scenario.article.signaling), ("media", scenario.article.media))
        for party, cell in cells.items()
    }
    found = ways(legs, {name: party.home for name, party in scenario.parties.items()})
    cells = [PathCell(way.flow, way.party, article.get((way.flow, way.party)), way) for way in found]
    told = {(way.flow, way.party) for way in found}
    return cells + [PathCell(*of, cell, None) for of, cell in article.items() if of not in told]


def ways(legs: Sequence[ReadLeg], homes: Mapping[str, str | None]) -> list[Way]:
    """Return the ways of all flows, party by party in the order of *homes* (party to pool), every leg in one at least.

    Legs that no party's lead to are told at the end, from where they begin.
    """
    found: list[Way] = []
    for party, home in homes.items():
        for flow in FLOWS:
            between = _between(legs, flow)
            found += [Way(flow, party, stages, home) for stages in _from_party(party, between, homes)]
    for leg in legs:
        if not any(leg in stage.legs for way in found for stage in way.stages):
            between = _between(legs, leg.flow)
            first = Stage(leg.from_, leg.to, between[leg.from_, leg.to])
            found += [Way(leg.flow, leg.from_, stages) for stages in _go_on((first,), between, homes)]
    return found


def _between(legs: Iterable[ReadLeg], flow: str) -> dict[Ends, tuple[ReadLeg, ...]]:
    found: dict[Ends, tuple[ReadLeg, ...]] = {}
    for leg in legs:
        if leg.flow == flow:
            found[leg.from_, leg.to] = (*found.get((leg.from_, leg.to), ()), leg)
    return found


def _from_party(
    party: str, between: Mapping[Ends, tuple[ReadLeg, ...]], parties: Iterable[str]
) -> Iterator[tuple[Stage, ...]]:
    """Yield the ways that begin with a leg of *party*; where legs only lead to it, these are followed back."""
    if not any(from_ == party for from_, _ in between):
        between = {(to, from_): legs for (from_, to), legs in between.items()}
    for (start, end), legs in between.items():
        if start == party:
            yield from _go_on((Stage(start, end, legs),), between, parties)


def _go_on(
    stages: tuple[Stage, ...], between: Mapping[Ends, tuple[ReadLeg, ...]], parties: Iterable[str]
) -> Iterator[tuple[Stage, ...]]:
    passed = {(stage.start, stage.end) for stage in stages}
    at = stages[-1].end
    onward = [ends for ends in between if ends[0] in _places(at, between) and ends not in passed]
    if at in parties or not onward:
        yield stages
        return
    for ends in onward:
        yield from _go_on((*stages, Stage(*ends, between[ends])), between, parties)


def _places(at: str, between: Iterable[Ends]) -> tuple[str, ...]:
    """Return from where legs lead on: *at*; of a Front End that none leaves, the Edge of its pool."""
    if at.endswith(_FRONT_END) and not any(from_ == at for from_, _ in between):
        return (at, at.removesuffix(_FRONT_END) + _EDGE)
    return (at,)


def _in_time(crossings: Iterable[tuple[str, Crossing]]) -> str:
    """Join what holds at once to one word, and put what holds after a change behind it."""
    stretches: dict[str, Crossing] = {}
    for after, one in crossings:
        other = stretches.get(after, Crossing(frozenset()))
        stretches[after] = Crossing(other.kinds | one.kinds, other.dies or one.dies)
    return " then ".join(word for word, _ in groupby(crossing.words for crossing in stretches.values()))


def _joined(words: Iterable[str]) -> str:
    """Join words to a way; what stays inside one network is told once, however many programs it passes there."""
    told: list[str] = []
    for word in words:
        if told[-1:] != [word] or word not in _INSIDE:
            told.append(word)
    return " → ".join(told)
