"""A scenario's name, or another long one, in a terminal's table."""

import re
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Slug:
    """A name or sentence that folds behind slashes and dashes too: tables fold at blanks alone, else inside a word."""

    name: str
    style: str = ""

    @property
    def _pieces(self) -> list[str]:
        return re.findall(r"[^/@ -]*[/@ -]|[^/@ -]+", self.name)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(max(map(len, self._pieces), default=0), len(self.name))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line = ""
        for piece in self._pieces:
            if line and len(line) + len(piece.rstrip()) > options.max_width:
                yield Text(line.rstrip(), style=self.style)
                line = ""
            line += piece
        yield Text(line, style=self.style)
