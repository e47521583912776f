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
    return lines or ["no difference"]


def _scenario_lines(one: ScenarioComparison) -> Iterator[str]:
    compared = f"{len(one.figures)} figures compared"
    yield f"{one.scenario}: {'different' if one.is_different else 'no difference'} ({compared})"
    for change in one.told:
        yield f"  {change.what}: {change.before} -> {change.after}"
    for figure in one.different_figures:
        yield f"  {figure_words(figure)}"
    for note in one.notes:
        yield f"  {note}"
    for change in one.configured if one.is_different else ():
        yield f"  configured: {change.what}: {change.before} -> {change.after}"


def figure_words(figure: Figure) -> str:
    """Return one figure in words: where, what, both values, and what a difference takes."""
    where = f"link {figure.name}" if figure.what == "link" else "end to end"
    change = figure.after - figure.before
    told = f"{figure.before:.3g} {figure.unit} -> {figure.after:.3g} {figure.unit} ({change:+.3g})"
    limit = f"chance {figure.chance:.1g}" if figure.chance is not None else f"spread {figure.needed:.2g} {figure.unit}"
    return f"{where}, {figure.sender} -> {figure.receiver}: {figure.figure} {told}; {limit}"
