"""What a machine can lack: each gives one clear line with its mend, exit code 4, and nothing like a result."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.emulation
RUN = f"{sys.executable} -m testbed run online/p2p-internal --duration 2s"


def run_where(preparation: str, results: Path, command: str = RUN) -> subprocess.CompletedProcess[str]:
    """Run the command in user and mount namespaces of its own, after a shell's *preparation* of them."""
    script = f"{preparation} && exec {command} --results {results}"
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def reasons(answer: subprocess.CompletedProcess[str]) -> str:
    """Return what the command said of its end, without the progress before it."""
    return answer.stderr + answer.stdout


@pytest.mark.parametrize(
    ("program", "package"),
    [
        ("/usr/sbin/bird", "bird2"),
        ("/usr/bin/turnserver", "coturn"),
        ("/usr/sbin/iptables-restore", "iptables"),
        ("/usr/sbin/conntrack", "conntrack"),
    ],
)
def test_a_missing_program_is_named_with_its_package(program: str, package: str, tmp_path: Path) -> None:
    answer = run_where(f"mount --bind /dev/null $(readlink -f {program})", tmp_path / "results")
    assert answer.returncode == 4, reasons(answer)
    assert f"apt-get install {package}" in reasons(answer)
    assert "Traceback" not in reasons(answer)


def test_forbidden_user_namespaces_are_said_with_their_mend(tmp_path: Path) -> None:
    answer = run_where("echo 0 > /proc/sys/user/max_user_namespaces", tmp_path / "results")
    assert answer.returncode == 4, reasons(answer)
    assert "user.max_user_namespaces" in reasons(answer)
    assert "Traceback" not in reasons(answer)


@pytest.mark.parametrize("size", ["64k", "400k", "1m"])
def test_a_full_disk_is_said_and_leaves_no_result(size: str, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    mount = f"mount -t tmpfs -o size={size} none {results}"
    answer = run_where(f"{mount} && sh -c '{RUN} --results {results}; echo status $?; ls {results}/*'", results, "true")
    assert "status 4" in answer.stdout, reasons(answer)
    assert "No space left on device" in reasons(answer)
    assert "PASS" not in answer.stdout
    assert "Traceback" not in reasons(answer)
