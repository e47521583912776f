"""The cells of a sweep on the workers of a Dask scheduler, on whatever machines they are.

A worker needs this project, in the very version that the sweep is given with, and what `testbed doctor` asks for. It
needs no file of the caller's: a job carries its scenario and topology, and the run's files come back with the result.
Dask gives the cells of a worker that died to another one.
"""

import asyncio
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, Final

from testbed.errors import MissingTool, RigError, UsageError
from testbed.sweep.cell import Job, conclude
from testbed.sweep.identity import code_digest
from testbed.sweep.parcel import Parcel, play_away, unpack

try:
    from distributed import Client, Future, Security, get_worker, wait
    from distributed.comm import connect
except ModuleNotFoundError as error:
    raise MissingTool(
        f"--scheduler: the package distributed is not installed ({error})",
        "python -m pip install 'distributed>=2024.8' in the environment of the testbed",
    ) from None

_ADDRESS: Final = re.compile(r"(tcp|tls)://[^/\s]+:[0-9]{1,5}")
CONNECT_LIMIT_S: Final = 10.0
FIRST_WORKER_LIMIT_S: Final = 5.0
WORKERS_LIMIT_S: Final = 60.0
"How long there may be no worker at all: one that is started anew needs some seconds."
_LOOK_S: Final = 5.0
_AHEAD: Final = 2
"Cells given out for each thread of the workers: one at work, one waiting."


def run_there(waiting: Sequence[Job], folder: Path, address: str) -> Iterator[tuple[Job, str]]:
    """Run *waiting* on the workers of the scheduler at *address*; yield each and its verdict when it is done.

    Raises UsageError where no scheduler answers, it has no worker, or a worker has other code; RigError where the
    scheduler or the last worker goes while cells are waiting.
    """
    with _connect(address) as client:
        _check_workers(client, address)
        try:
            yield from _run_all(client, list(reversed(waiting)), folder, address)
        except CancelledError:
            raise RigError(f"--scheduler {address}: it went away; given again, the sweep continues") from None


def _connect(address: str) -> Client:
    """Return a client of the scheduler at *address*."""
    wanted = "an address is like tcp://192.0.2.1:8786; `dask scheduler` starts a scheduler and says its own"
    if not _ADDRESS.fullmatch(address):
        raise UsageError(f"--scheduler {address}: no address of a Dask scheduler; {wanted}")
    try:
        answers = asyncio.run(_ask_who(address))
    except Exception as error:  # a stranger may answer with anything, and Dask's reading of it fail in any way
        told = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"--scheduler {address}: no Dask scheduler answers there ({told}); {wanted}") from None
    if answers != "Scheduler":
        raise UsageError(f"--scheduler {address}: that is a Dask {answers}; {wanted}")
    return Client(address, timeout=CONNECT_LIMIT_S)


async def _ask_who(address: str) -> str:
    """Return what *address* says that it is: `Client` itself waits for a minute, and longer, on strangers."""
    async with asyncio.timeout(CONNECT_LIMIT_S):
        comm = await connect(address, timeout=CONNECT_LIMIT_S - 1, **Security().get_connection_args("client"))
        try:
            await comm.write({"op": "identity", "reply": True})
            answer = await comm.read()
        finally:
            comm.abort()
    return str(answer["type"])


def _check_workers(client: Client, address: str) -> None:
    """See that there are workers, and that all have the code that this process has."""
    try:
        client.wait_for_workers(1, timeout=FIRST_WORKER_LIMIT_S)
    except TimeoutError:
        start = f"`dask worker {address} --nthreads 1` on another machine starts one"
        raise UsageError(f"--scheduler {address}: it has no worker; {start}") from None
    here = code_digest()
    for worker, there in client.run(code_digest, on_error="return").items():
        if there != here:
            lacks = f"lacks the testbed ({there})" if isinstance(there, Exception) else "has another version of it"
            raise UsageError(f"--scheduler {address}: worker {worker} {lacks}; install the same one on all machines")


def _run_all(client: Client, waiting: list[Job], folder: Path, address: str) -> Iterator[tuple[Job, str]]:
    """Keep the workers in work, but have no more away than they need: what is done waits in their memory."""
    running: dict[Any, Job] = {}
    here, alone_s = code_digest(), 0.0
    while waiting or running:
        threads = sum(client.nthreads().values())
        while waiting and len(running) < _AHEAD * max(1, threads):
            job = waiting.pop()
            running[client.submit(_play, job, here, pure=False)] = job
        try:
            done: set[Future] = wait(list(running), timeout=_LOOK_S, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            done = set()
        alone_s = 0.0 if threads or done else alone_s + _LOOK_S
        if alone_s >= WORKERS_LIMIT_S:
            raise RigError(f"--scheduler {address}: no worker for {alone_s:.0f} s; given again, the sweep continues")
        for future in done:
            job = running.pop(future)
            yield job, _take(future, folder / job.folder)


def _play(job: Job, wanted: str) -> Parcel:
    """Run a cell on the worker that this is: in its own folder, which Dask tidies up after one that was killed."""
    return play_away(job, wanted, Path(get_worker().local_directory))


def _take(future: Future, place: Path) -> str:
    """Put a cell's files into its folder *place* and return its verdict."""
    if (error := future.exception()) is not None:
        return f"ERROR: {type(error).__name__}: {' '.join(str(error).split())}"
    parcel: Parcel = future.result()
    return conclude(unpack(parcel, place), place)
