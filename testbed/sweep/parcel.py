"""A run that was made elsewhere, on its way to whoever asked for it: its files, each packed, by their names."""

import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from testbed.errors import RigError, TestbedError
from testbed.sweep.cell import Job, Played, play
from testbed.sweep.identity import code_digest

_LEVEL: Final = 1
"Of zlib: a packet is in a capture once for each link, so that even the fastest finds most of it."


@dataclass(frozen=True, slots=True)
class Parcel:
    """What a worker sends back."""

    played: Played
    "Its paths are names only."
    files: dict[str, bytes]
    "By path within the run's directory, with slashes."


def play_away(job: Job, wanted: str, scratch: Path) -> Parcel:
    """Run a cell, on a worker, and return its run; *wanted* is the caller's `code_digest`.

    Until they are packed its files lie in a folder of their own in *scratch*. What is wrong with this machine is an
    ERROR of the cell: another one may do better.
    """
    if code_digest() != wanted:
        return _broken("this worker has another version of the testbed; install the same one on all machines")
    with tempfile.TemporaryDirectory(prefix="testbed-cell-", dir=scratch) as place:
        try:
            played = play(job, Path(place))
        except (TestbedError, OSError) as error:
            return _broken(str(error))
        files = {
            path.relative_to(played.run).as_posix(): zlib.compress(path.read_bytes(), _LEVEL)
            for path in sorted(played.run.rglob("*"))
            if path.is_file()
        }
    return Parcel(Played(played.verdict, played.reason, Path(played.run.name), played.scenario), files)


def _broken(reason: str) -> Parcel:
    return Parcel(Played("ERROR", reason, Path()), {})


def unpack(parcel: Parcel, results: Path) -> Played:
    """Lay the run's files into *results*, and return it with its directory there. Raises RigError, OSError."""
    place = results / parcel.played.run.name
    for name, packed in parcel.files.items():
        parts = PurePosixPath(name).parts
        if ".." in parts or PurePosixPath(name).is_absolute():
            raise RigError(f"a worker sent a file that would lie outside of the results: {name!r}")
        path = place.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(zlib.decompress(packed))
    return Played(parcel.played.verdict, parcel.played.reason, place, parcel.played.scenario)
