"""A comparison as lines for a terminal."""

from collections.abc import Iterator

from testbed.comparison.model import Comparison, Figure, ScenarioComparison


def comparison_lines(found: Comparison, *, only_changes: bool = False) -> list[str]:
    """Return the lines; with *only_changes* scenarios without a difference are left out."""
    lines = [f"only before: {name}" for name in found.only_before]
    lines += [f"only after: {name}" for name in found.only_after]
    for one in found.scenarios:
        if one.is_different or not only_changes:
            lines += _scenario_lines(one)
    lines = lines or ["no difference"]
    partly = sum(bool(one.not_compared) and not one.is_different for one in found.scenarios)
    if only_changes and partly:
        without = f"{partly} of {len(found.scenarios)} scenarios without a difference"
        lines.append(f"{without} are compared in part only: without --baseline each says what is not, and why")
    return lines


def _scenario_lines(one: ScenarioComparison) -> Iterator[str]:
    compared = f"{len(one.figures)} figures compared"
    yield f"{one.scenario}: {'different' if one.is_different else 'no difference'} ({compared})"
    for change in one.told:
        yield f"  {change.what}: {change.before} -> {change.after}"
    for figures in one.different_places:
        yield f"  {place_words(figures)}"
    for note in (*one.not_compared, *one.notes):
        yield f"  {note}"
    for change in one.configured if one.is_different else ():
        yield f"  configured: {change.what}: {change.before} -> {change.after}"


def place_words(figures: list[Figure]) -> str:
    """Return what differs at one place in words: where, each figure's two values, and what a difference takes."""
    return f"{_where(figures[0])}: {', '.join(_figure_words(figure) for figure in figures)}"


def _where(figure: Figure) -> str:
    if figure.what == "party":
        return figure.name
    ends = f"{figure.sender} -> {figure.receiver}"
    return (
        f"{figure.what}, {ends} ({figure.name})"
        if figure.what == "end to end"
        else f"{figure.what} {figure.name}, {ends}"
    )


def _figure_words(figure: Figure) -> str:
    unit = f" {figure.unit}" if figure.unit else ""
    change = figure.after - figure.before
    told = f"{figure.figure} {_number(figure.before)}{unit} -> {_number(figure.after)}{unit}"
    if figure.needed is None:
        return f"{told} ({'+' * (change > 0)}{_number(change)}; chance {figure.chance:.1g})"
    return f"{told} ({'+' * (change > 0)}{_number(change)}; spread {_number(figure.needed)}{unit})"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
