"""Supervised commands: started, watched, restarted, and never left behind.

Three things keep the process list clean, whatever ends the supervisor:

* every command runs in a session of its own, so that a Ctrl-C in the terminal reaches only the
  supervisor, and the whole group can be killed at the end;
* on Linux the kernel signals the command when the supervisor ends (``tether``);
* every command and all its descendants hold a lock on its pid file for as long as one of them
  lives (they inherit the open file). The next supervisor that finds the lock taken ends them
  first; this is what cleans up on macOS, and after the unforeseen.

Children must be started from the main thread: Linux ties them to the *thread* that made them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from app.errors import PinfoldError
from app.sandbox.lock_files import birth_of, open_private, overwrite, wait_for_lock

TETHER = Path(__file__).with_name("tether.py")
POLL_S = 0.01
DEATHS_WINDOW_S = 60.0
LEFTOVER_PATIENCE_S = 10.0
LOG_TAIL_BYTES = 4096
KNOWN_FAULTS = (
    ("No space left on device", "the disk is full, free some space"),
    ("Exec format error", "the binaries are for another processor or system"),
    ("No such file or directory", "a file is missing, or the binaries are for another system"),
    ("Operation not permitted", "this user may not switch to another one, run as a normal user"),
    ("Permission denied", "the user it runs as may not open one of its files"),
)


class StackError(PinfoldError):
    """A part of the embedded stack cannot run; one line that names the fix or the log."""


class Account(NamedTuple):
    """Whom a command runs as."""

    uid: int
    gid: int


class Child:
    """A command kept running under a name.

    ``ready`` tells when it serves, ``prepare`` runs before each start, ``grace`` is how many
    seconds it gets to stop after ``stop_signal``. ``death_signal`` reaches it when the supervisor
    ends unasked. A dead child is revived after ``first_pause`` seconds, doubled with each death;
    after ``deaths_allowed`` deaths within a minute it is given up.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        log: Path,
        pidfile: Path | None = None,
        directory: Path = Path("/"),
        account: Account | None = None,
        prepare: Callable[[], None] = lambda: None,
        ready: Callable[[], bool] = lambda: True,
        stop_signal: signal.Signals = signal.SIGTERM,
        death_signal: signal.Signals = signal.SIGTERM,
        grace: float = 10.0,
        patience: float = 30.0,
        first_pause: float = 0.25,
        deaths_allowed: int = 5,
    ) -> None:
        self.name, self.log = name, log
        self._argv, self._env, self._directory = argv, dict(env), directory
        self._pidfile = pidfile or log.with_suffix(".pid")
        self._account, self._prepare, self._ready = account, prepare, ready
        self._stop_signal, self._death_signal = stop_signal, death_signal
        self._grace, self._patience = grace, patience
        self._first_pause, self._deaths_allowed = first_pause, deaths_allowed
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._deaths: list[float] = []
        self._revive_at: float | None = None

    @property
    def pid(self) -> int | None:
        """The process id, None while it does not run."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if self._process and running else None

    def died(self) -> bool:
        """Whether it was started and has ended without being stopped."""
        return self._process is not None and self._process.poll() is not None

    def start(self) -> None:
        """Launch it and wait until it serves; raises StackError, leaving nothing, if it cannot."""
        try:
            self.launch()
            self.wait_ready()
        except BaseException:
            self._end_group()
            raise

    def launch(self) -> None:
        """Start the process without waiting for it, after ending what an earlier run left."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("children end with the thread that starts them: use the main thread")
        self._end_group()
        held = self._take_pidfile()
        try:
            self._prepare()
            self._spawn(held)
        finally:
            os.close(held)

    def wait_ready(self) -> None:
        """Wait until it serves; raises StackError when it ends or ``patience`` seconds pass."""
        deadline = time.monotonic() + self._patience
        while not self._ready():
            if self.died():
                raise StackError(f"{self.name} {self._ending()}; see {self.log}")
            if time.monotonic() > deadline:
                raise StackError(
                    f"{self.name} does not answer after {self._patience:g} s; see {self.log}"
                )
            time.sleep(POLL_S)

    def run(self, patience: float) -> None:
        """Run it to its end; raises StackError when it fails or takes more seconds than these."""
        try:
            self.launch()
            if self._process is not None and self._process.wait(patience) != 0:
                raise StackError(f"{self.name} {self._ending()}; see {self.log}")
        except subprocess.TimeoutExpired:
            raise StackError(
                f"{self.name} has not ended after {patience:g} s; see {self.log}"
            ) from None
        finally:
            self._end_group()

    def revive(self) -> bool:
        """Start it again if it died and its pause is over; True when it was.

        Raises StackError when it died too often.
        """
        if not self.died():
            return False
        now = time.monotonic()
        if self._revive_at is None:
            self._deaths = [at for at in self._deaths if now - at < DEATHS_WINDOW_S] + [now]
            if len(self._deaths) > self._deaths_allowed:
                raise StackError(
                    f"{self.name} {self._ending()}, for the {len(self._deaths)}th time "
                    f"within a minute; see {self.log}"
                )
            self._revive_at = now + self._first_pause * 2 ** (len(self._deaths) - 1)
        if now < self._revive_at:
            return False
        self._revive_at = None
        self.launch()
        return True

    def ask_to_stop(self) -> None:
        """Send the stop signal and return at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self._stop_signal)

    def stop(self) -> None:
        """Ask it to stop, wait for ``grace`` seconds, then kill what is left of its group."""
        self.ask_to_stop()
        self.join()

    def join(self) -> None:
        """The second half of ``stop``, for a child already asked."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(self._grace)
        self._end_group()

    def _spawn(self, held: int) -> None:
        output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._log_start = os.fstat(output).st_size
            self._process = subprocess.Popen(  # noqa: S603 commands are our own
                tethered(self._argv, self._account, self._death_signal),
                env=self._env,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=(held,),
            )
        finally:
            os.close(output)
        overwrite(held, f"{self._process.pid} {birth_of(self._process.pid)}")

    def _take_pidfile(self) -> int:
        """The pid file, opened and locked; a process of an earlier run that holds it is ended."""
        file = open_private(self._pidfile)
        pid, _, birth = os.pread(file, 64, 0).decode().partition(" ")
        for number in (self._stop_signal, signal.SIGKILL):
            if wait_for_lock(file, 0 if number == self._stop_signal else LEFTOVER_PATIENCE_S):
                return file
            if birth and birth_of(int(pid)) == birth:  # not a stranger under a recycled number
                with suppress(ProcessLookupError):
                    os.kill(int(pid), number)
        if wait_for_lock(file, LEFTOVER_PATIENCE_S):
            return file
        os.close(file)
        raise StackError(f"{self.name} of an earlier run (process {pid}) does not end: kill it")

    def _end_group(self) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a zombie
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _ending(self) -> str:
        code = self._process.returncode if self._process else 0
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        with self.log.open("rb") as log:
            log.seek(max(self._log_start, self.log.stat().st_size - LOG_TAIL_BYTES))
            fault = explain(log.read().decode(errors="replace"))
        return f"{how} ({fault})" if fault else how


def tethered(
    argv: Sequence[str | Path], account: Account | None, death_signal: signal.Signals
) -> list[str]:
    """The command line that runs ``argv`` as ``account`` and ends it with this process."""
    uid, gid = account or (-1, -1)
    ties = [os.getpid(), int(death_signal), uid, gid]
    return [sys.executable, "-I", "-S", *map(str, (TETHER, *ties, *argv))]


def explain(output: str) -> str:
    """What people can do about a failure, from what the command printed; empty when unknown."""
    return next((fix for symptom, fix in KNOWN_FAULTS if symptom in output), "")
