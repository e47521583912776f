"""The Vagrantfile is one that vagrant itself accepts."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def validate(folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "VAGRANT_DEFAULT_PROVIDER": "libvirt",
        "VAGRANT_HOME": str(home),
        "VAGRANT_CHECKPOINT_DISABLE": "1",
    }
    return subprocess.run(
        ["vagrant", "validate"], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.interop
def test_vagrant_validates_the_vagrantfile(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Vagrantfile", tmp_path)
    answer = validate(tmp_path, tmp_path / "home")
    assert answer.returncode == 0, answer.stderr


@pytest.mark.interop
def test_vagrant_refuses_a_broken_vagrantfile(tmp_path: Path) -> None:
    text = (ROOT / "Vagrantfile").read_text(encoding="utf-8")
    (tmp_path / "Vagrantfile").write_text(text.replace("config.vm.hostname", "config.vm.hostnme"), encoding="utf-8")
    assert validate(tmp_path, tmp_path / "home").returncode != 0
