"""The dead-man timer: a process that was frozen past its lease acts no more."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.deadman import armed
from app.errors import ConfigError
from tests.integration.processes import eventually

FROZEN = """
import sys, time
from app.deadman import armed
with armed(0.3):
    print("armed", flush=True)
    {during}
print("sent too late", flush=True)
"""


def child(during: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FROZEN.format(during=during)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("during", ["time.sleep(20)", "while True: pass"])
def test_a_process_that_takes_too_long_is_ended_by_the_kernel(during: str) -> None:
    with child(during) as process:
        try:
            said, _ = process.communicate(timeout=15)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGALRM
    assert said == "armed\n"


def test_a_process_that_was_stopped_past_its_time_never_goes_on() -> None:
    with child("time.sleep(0.1)") as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "armed\n"
            process.send_signal(signal.SIGSTOP)
            assert eventually(lambda: signal.SIGALRM in pending(process.pid), 10)
            process.send_signal(signal.SIGCONT)
            said, _ = process.communicate(timeout=15)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGALRM
    assert said == ""


def test_the_timer_kills_whatever_was_set_to_happen_instead() -> None:
    program = "import signal; signal.signal(signal.SIGALRM, lambda *_: None)" + FROZEN
    command = [sys.executable, "-c", program.format(during="time.sleep(1)")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (-signal.SIGALRM, "armed\n")


def pending(pid: int) -> list[int]:
    """The numbers of the signals that wait for a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    waiting = next(line for line in status.splitlines() if line.startswith("ShdPnd"))
    bits = int(waiting.split()[1], 16)
    return [number for number in range(1, 64) if bits >> (number - 1) & 1]


def test_a_block_that_ends_in_time_leaves_no_timer_behind() -> None:
    with armed(30):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_the_timer_goes_also_when_the_block_fails() -> None:
    with pytest.raises(RuntimeError), armed(30):
        raise RuntimeError
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_thread_that_it_could_not_guard_is_refused() -> None:
    refused: list[str] = []

    def in_thread() -> None:
        try:
            with armed(30):
                pass
        except ConfigError as problem:
            refused.append(str(problem))

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert "prefork" in refused[0]
