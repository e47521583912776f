"""The stages stay apart: what may import what, read from the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PURE = [
    "testbed/plan",
    "testbed/analysis",
    "testbed/report",
    "testbed/verdict",
    "testbed/spec/reader.py",
    "testbed/spec/change.py",
]
KERNEL = ("testbed.emulation", "subprocess", "mininet", "pyroute2", "socket", "asyncio")


def modules(path: str) -> list[Path]:
    found = ROOT / path
    return sorted(found.rglob("*.py")) if found.is_dir() else [found]


def imports(module: Path) -> set[str]:
    """Return every module name that *module* imports, at any depth of its code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def reaches(names: set[str], roots: tuple[str, ...]) -> list[str]:
    return sorted(name for name in names if any(name == root or name.startswith(root + ".") for root in roots))


@pytest.mark.parametrize("module", [m for path in PURE for m in modules(path)], ids=str)
def test_pure_stages_do_not_touch_the_kernel(module: Path) -> None:
    assert not reaches(imports(module), KERNEL)


@pytest.mark.parametrize("module", modules("agents"), ids=str)
def test_agents_do_not_know_the_testbed(module: Path) -> None:
    assert not reaches(imports(module), ("testbed",))


@pytest.mark.parametrize("module", modules("testbed"), ids=str)
def test_only_the_conductor_sees_every_stage(module: Path) -> None:
    if module.relative_to(ROOT).parts[1] in {"run.py", "cli.py", "emulation"}:
        return
    # A sweep is made of whole runs: it has the conductor run them, and sees no stage itself.
    conductor = () if module.parent.name == "sweep" else ("testbed.run",)
    assert not reaches(imports(module), ("testbed.emulation", *conductor))


def test_a_forbidden_import_would_be_found(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def f() -> None:\n    from testbed.emulation import world\n")
    assert reaches(imports(bad), KERNEL)
