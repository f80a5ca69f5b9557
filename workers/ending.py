"""The last moment of a process that was told to end.

While Python takes itself down it gives signals their first meaning back: whoever is told a second
time just then would die of it, and look as if it had failed. An end that is under way is not to be
hurried, so the signals are deaf from where Python begins.
"""

from __future__ import annotations

import atexit
import signal

ASKED_BY = (signal.SIGTERM, signal.SIGINT)


def end_undisturbed() -> None:
    """Once this process has nothing more to do, asking it to end changes nothing."""
    atexit.register(_be_deaf)


def _be_deaf() -> None:
    for number in ASKED_BY:
        signal.signal(number, signal.SIG_IGN)
