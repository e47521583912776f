"""The example of docs/scenarios.md: its files, and the commands that the page gives for it."""

import re
from pathlib import Path

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "scenarios.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```toml\n# (\S+\.toml)\n(.*?)```", TEXT, re.DOTALL))
COMMANDS = re.findall(r"^\$ (testbed \S+ scenarios/own/branch-call\.toml.*)$", TEXT, re.MULTILINE)


def write_example(root: Path) -> Path:
    """Write the page's files below *root* and return the scenario's path."""
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root / "scenarios/own/branch-call.toml"
