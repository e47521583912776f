"""A comparison as a page: one file, without anything from elsewhere."""

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from testbed import files
from testbed.comparison.model import Comparison
from testbed.comparison.text import place_words


def write_page(found: Comparison, path: Path) -> None:
    """Write the comparison's page. Raises OSError."""
    environment = Environment(
        loader=PackageLoader("testbed.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    template = environment.get_template("comparison.html.j2")
    files.write_text(path, template.render(found=found, place_words=place_words))
