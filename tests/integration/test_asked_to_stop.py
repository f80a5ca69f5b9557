"""How a worker's children hear that they shall stop."""

import subprocess
import sys

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


def test_children_hear_it_although_some_were_killed_while_they_listened() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ASKED], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.stdout, ended.stderr) == ("7\n", "")
