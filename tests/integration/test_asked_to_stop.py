"""How processes hear that they shall stop: a worker's children, and whoever hears it twice."""

import subprocess
import sys

import pytest

ASKED = """
import os, signal
from workers.process import ask_turns_to_end, stopping

def looking():
    seen, tell = os.pipe()
    child = os.fork()
    if not child:
        while not stopping():
            os.write(tell, b".")
        os._exit(7)
    os.read(seen, 1)
    return child

for _ in range(100):
    child = looking()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
child = looking()
ask_turns_to_end()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


TOLD_AGAIN = """
import atexit, os, signal

atexit.register(os.kill, os.getpid(), signal.{signal})  # what is registered last is called first

from workers.ending import end_undisturbed

end_undisturbed()
"""


@pytest.mark.parametrize("told_by", ["SIGTERM", "SIGINT"])
def test_a_process_that_is_told_again_in_its_last_moment_ends_as_it_was_about_to(
    told_by: str,
) -> None:
    told = [sys.executable, "-c", TOLD_AGAIN.format(signal=told_by)]
    ended = subprocess.run(told, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_children_hear_it_although_some_were_killed_while_they_listened() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ASKED], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.stdout, ended.stderr) == ("7\n", "")
