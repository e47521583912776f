"""Starts agents by forking one process that has everything imported: `python -m agents.forkserver [FD]`.

Importing aiortc costs half a second of CPU; a fork of a process that has it costs milliseconds and shares the memory.

*FD* (standard input if not given) is one end of a Unix SEQPACKET socket pair. A request is `{"program", "name"}` with
three file descriptors (SCM_RIGHTS): the network namespace, the pipe the agent reads its job and commands from, the pipe
it writes lines to. The answer is `{"pid"}` or `{"error"}`; when a child ends, `{"pid", "exit"}` follows, *exit*
negative for a signal. When the socket closes, the forkserver ends, and the kernel kills its children.
"""

import ctypes
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import sys
import traceback
from typing import NoReturn

import agents
from agents import process

_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_LONGEST_REQUEST_BYTES = 65536
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def enter_network_namespace(fd: int) -> None:
    """Move this (single-threaded) process into the network namespace *fd*; os.setns exists only from Python 3.12 on."""
    _check(_libc.setns(fd, _CLONE_NEWNET), "setns")


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent, *parent_pid*, ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != parent_pid:  # it ended before the line above
        os._exit(1)


class ForkServer:
    """The loop: requests in, children out, their ends reported."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._pidfds: dict[int, int] = {}

    def serve(self) -> None:
        """Serve until the socket closes."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self._control:
                    self._reap(key.fd)
                elif not self._take_request():
                    return

    def _take_request(self) -> bool:
        data, fds, flags, _ = socket.recv_fds(self._control, _LONGEST_REQUEST_BYTES, 3)
        if not data:
            return False
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(fds) != 3:
                raise ValueError(f"a request needs 3 file descriptors and at most {_LONGEST_REQUEST_BYTES} bytes")
            request = json.loads(data)
            process.program_named(request["program"])
            answer: process.Message = {"pid": self._fork(request["program"], request["name"], *fds)}
        except (ValueError, KeyError, TypeError, OSError, ImportError) as error:
            answer = {"error": process.one_line(error)}
        finally:
            for fd in fds:
                os.close(fd)
        self._answer(answer)
        return True

    def _fork(self, program: str, name: str, namespace_fd: int, commands_fd: int, lines_fd: int) -> int:
        parent_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._be_agent(parent_pid, program, name, namespace_fd, commands_fd, lines_fd)
        pidfd = os.pidfd_open(pid)
        self._pidfds[pidfd] = pid
        self._selector.register(pidfd, selectors.EVENT_READ)
        return pid

    def _be_agent(
        self, parent_pid: int, program: str, name: str, namespace_fd: int, commands_fd: int, lines_fd: int
    ) -> NoReturn:
        status = 1
        try:
            die_with_parent(parent_pid)
            # Ctrl-C reaches the whole terminal group: the conductor alone decides what it means.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            enter_network_namespace(namespace_fd)
            self._keep_only(commands_fd, lines_fd)
            sys.argv = ["agent", program, name]
            status = process.run(program, commands_fd, lines_fd)
        except BaseException:
            traceback.print_exc(file=sys.stderr)
        finally:
            # Not sys.exit: the parent's frames and their clean-up do not belong to the child.
            sys.stderr.flush()
            os._exit(status)

    def _keep_only(self, commands_fd: int, lines_fd: int) -> None:
        self._selector.close()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(2, 1)  # a stray print is a message to a person, not a line of the protocol
        kept = sorted({commands_fd, lines_fd})
        low = 3
        for fd in [*kept, os.sysconf("SC_OPEN_MAX")]:
            os.closerange(low, fd)
            low = fd + 1

    def _reap(self, pidfd: int) -> None:
        self._selector.unregister(pidfd)
        os.close(pidfd)
        pid, status = os.waitpid(self._pidfds.pop(pidfd), 0)
        self._answer({"pid": pid, "exit": os.waitstatus_to_exitcode(status)})

    def _answer(self, message: process.Message) -> None:
        self._control.send(json.dumps(message).encode())


def main(arguments: list[str]) -> int:
    """Import every agent, then serve on the socket whose number is the only argument (0 without one)."""
    fd = int(arguments[0]) if arguments else 0
    control = socket.socket(fileno=os.dup(fd))
    if control.type != socket.SOCK_SEQPACKET:
        sys.stderr.write(f"agents.forkserver: file descriptor {fd} is no SEQPACKET socket\n")
        return 2
    for module in pkgutil.iter_modules(agents.__path__):
        if module.name != "__main__":
            importlib.import_module(f"agents.{module.name}")
    gc.collect()
    gc.freeze()  # keeps the collector from touching, and so copying, the pages that children share
    try:
        ForkServer(control).serve()
    except (BrokenPipeError, ConnectionResetError):
        return 0  # the stage has gone
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
