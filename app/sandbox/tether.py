"""Run a command that ends with the process that started it.

    python -I -S tether.py PARENT SIGNAL UID GID COMMAND [ARGUMENT ...]

On Linux the kernel sends SIGNAL to the command when PARENT ends, `kill -9` included. It must be
asked for between fork and exec, and after the user was changed, which cancels the request. A
`preexec_fn` could do that too, but it is unsafe in a supervisor with threads (Python 3.12 warns),
so this small program does it and then becomes the command: process id and output stay the same.
Elsewhere (macOS) the command merely runs. UID -1 keeps the user.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
CHANGED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT)


def become(uid: int, gid: int) -> None:
    """Give up root for good: groups first, since only root may change them."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def end_with(parent: int, signal_number: int) -> None:
    """Have the kernel send us the signal when the parent ends; leave if it already has."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent has ended")


def main(arguments: list[str]) -> None:
    parent, signal_number, uid, gid = (int(number) for number in arguments[:4])
    command = arguments[4:]
    try:
        if uid >= 0:
            become(uid, gid)
        end_with(parent, signal_number)
        for changed in CHANGED_BY_PYTHON:
            signal.signal(changed, signal.SIG_DFL)
        os.execv(command[0], command)  # noqa: S606 the command comes from our own supervisor
    except OSError as problem:
        sys.exit(f"cannot run {command[0]} as user {os.getuid()}: {problem.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
