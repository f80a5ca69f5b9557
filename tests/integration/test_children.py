from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.sandbox import children
from app.sandbox.children import KNOWN_FAULTS, Child, StackError, explain
from tests.integration.processes import alive, eventually, supervisor

FOREVER = "import time\nwhile True: time.sleep(60)"
WITH_A_STUBBORN_GRANDCHILD = f"""
import signal, subprocess, sys, time
from pathlib import Path
stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\\n"
subprocess.Popen([sys.executable, "-c", stubborn + {FOREVER!r}])
Path(sys.argv[1]).touch()
{FOREVER}
"""
SUPERVISOR = f"""
import signal, sys, time
from pathlib import Path
from app.sandbox.children import Child
log, death_signal = Path(sys.argv[1]), signal.Signals[sys.argv[2]]
child = Child(
    "stand-in", [sys.executable, "-c", {FOREVER!r}], env={{}}, log=log, death_signal=death_signal
)
child.start()
print(child.pid, flush=True)
while True:
    time.sleep(60)
"""
CELERY_APP = """
import os, time
from celery import Celery
app = Celery("stand_in", broker=os.environ["BROKER"])

@app.task
def last():
    open(os.environ["BEGUN"], "w").close()
    time.sleep(60)
"""
CELERY_SUPERVISOR = """
import os, sys, time
from pathlib import Path
from app.sandbox.embedded_valkey import EmbeddedValkey
from app.sandbox.stack import ServingOptions, serving_children
state = Path(sys.argv[1])
broker = EmbeddedValkey(state)
broker.start()
begun = state / "begun"
os.environ |= {"BROKER": broker.url(), "BEGUN": str(begun)}
os.environ["TMPDIR"] = str(state)  # a killed pool leaves a directory there
(state / "logs").mkdir()
sys.path.insert(0, str(state))
import workers
workers.last.delay()
options = ServingOptions(dict(os.environ), state, 2, None)
worker = next(child for child in serving_children(options) if child.name == "worker")
worker.start()
deadline = time.monotonic() + 20
while not begun.exists() and time.monotonic() < deadline:
    time.sleep(0.02)
print(worker.pid, flush=True)
while True:
    time.sleep(60)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "stand-in.log"


def stand_in(log: Path, program: str, *arguments: object, **options: object) -> Child:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return Child("stand-in", command, env={}, log=log, **options)  # type: ignore[arg-type]


@pytest.fixture
def forever(log: Path) -> Iterator[Child]:
    child = stand_in(log, FOREVER)
    yield child
    child.stop()


def tick_until(child: Child, pid: int | None) -> None:
    assert eventually(lambda: child.revive() or child.pid not in (None, pid))


def test_a_child_has_its_own_session_and_only_the_given_environment(forever: Child) -> None:
    forever.start()
    process = psutil.Process(forever.pid)
    assert os.getsid(process.pid) == process.pid
    assert eventually(lambda: process.cmdline()[1] == "-c")
    assert "HOME" not in process.environ()


def test_stopping_asks_first_and_ends_the_whole_group(log: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    child = stand_in(log, WITH_A_STUBBORN_GRANDCHILD, begun, ready=begun.exists)
    child.start()
    family = psutil.Process(child.pid).children(recursive=True)
    assert len(alive(family)) == 1
    child.stop()
    assert eventually(lambda: not alive(family))
    assert not child.died()
    assert child.pid is None


def test_a_child_that_ignores_the_stop_signal_is_killed_after_its_grace(
    log: Path, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    deaf = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    deaf += "open(sys.argv[1], 'w').close()\n"
    child = stand_in(log, deaf + FOREVER, begun, ready=begun.exists, grace=0.1)
    child.start()
    process = psutil.Process(child.pid)
    child.stop()
    assert not alive([process])


def test_a_dead_child_is_revived_after_its_pause_with_its_group_cleared(
    log: Path, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    child = stand_in(log, WITH_A_STUBBORN_GRANDCHILD, begun, ready=begun.exists, first_pause=0.3)
    child.start()
    first, family = child.pid, psutil.Process(child.pid).children(recursive=True)
    os.kill(first or 0, signal.SIGKILL)
    assert eventually(child.died)
    noticed = time.monotonic()
    assert not child.revive()
    tick_until(child, first)
    assert time.monotonic() - noticed >= 0.3
    assert not alive(family)
    child.stop()


def test_back_off_gives_up_with_an_error_that_names_the_log(log: Path) -> None:
    child = stand_in(
        log, "print('up', flush=True); raise SystemExit(3)", first_pause=0.001, deaths_allowed=3
    )
    child.launch()

    def supervise() -> None:
        while eventually(child.died):
            child.revive()

    with pytest.raises(StackError, match=rf"stand-in ended with code 3, for the 4th .* {log}"):
        supervise()
    assert log.read_text().count("up") == 4
    child.stop()


def test_a_start_that_fails_says_why_and_leaves_nothing(log: Path) -> None:
    full = "raise SystemExit('write: No space left on device')"
    child = stand_in(log, full, ready=lambda: False)
    with pytest.raises(StackError, match=rf"code 1 \(the disk is full, .*see {log}"):
        child.start()
    assert child.pid is None


def test_a_program_that_is_missing_is_reported(log: Path) -> None:
    child = Child("stand-in", ["/nowhere/program"], env={}, log=log, ready=lambda: False)
    with pytest.raises(StackError, match=r"stand-in ended with code 1 \(a file is missing"):
        child.start()


def test_a_child_that_never_serves_is_ended(log: Path) -> None:
    child = stand_in(log, FOREVER, ready=lambda: False, patience=0.1)
    with pytest.raises(StackError, match=r"does not answer after 0.1 s"):
        child.start()
    assert child.pid is None


def test_running_to_the_end_reports_failure_and_overlong_runs(log: Path) -> None:
    stand_in(log, "").run(10)
    with pytest.raises(StackError, match=rf"ended with code 2; see {log}"):
        stand_in(log, "raise SystemExit(2)").run(10)
    with pytest.raises(StackError, match=r"has not ended after 0.1 s"):
        stand_in(log, FOREVER).run(0.1)


def test_a_fault_of_an_earlier_run_is_not_blamed_on_this_one(log: Path) -> None:
    log.write_text("No space left on device\n")
    with pytest.raises(StackError) as caught:
        stand_in(log, "raise SystemExit(2)").run(10)
    assert "disk" not in str(caught.value)


def test_kill_9_of_the_supervisor_takes_the_child_along(log: Path) -> None:
    with supervisor(SUPERVISOR, log, "SIGTERM") as (process, family):
        assert len(family) == 1
        process.kill()
        assert eventually(lambda: not alive(family), seconds=5)


def test_a_child_that_outlived_its_supervisor_is_ended_by_the_next(
    log: Path, forever: Child
) -> None:
    with supervisor(SUPERVISOR, log, "SIGWINCH") as (process, family):
        process.kill()
        process.wait()
        assert len(alive(family)) == 1
        forever.start()
        assert not alive(family)
    assert forever.pid is not None


def test_a_stranger_with_a_recycled_process_id_is_left_alone(
    log: Path, forever: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "LEFTOVER_PATIENCE_S", 0.1)
    stranger = stand_in(log.with_name("stranger.log"), FOREVER)
    stranger.start()
    with log.with_suffix(".pid").open("w") as held_by_a_descendant:
        fcntl.flock(held_by_a_descendant, fcntl.LOCK_EX)
        held_by_a_descendant.write(f"{stranger.pid} 1")
        held_by_a_descendant.flush()
        with pytest.raises(StackError, match=rf"process {stranger.pid}\) does not end"):
            forever.start()
    assert stranger.pid is not None
    stranger.stop()


@pytest.mark.slow
def test_kill_9_of_the_supervisor_takes_a_busy_celery_pool_along(tmp_path: Path) -> None:
    (tmp_path / "workers.py").write_text(CELERY_APP)
    with supervisor(CELERY_SUPERVISOR, tmp_path) as (process, family):
        assert (tmp_path / "begun").exists()
        assert len(family) >= 4, "the broker, the worker and its pool of two"
        process.kill()
        assert eventually(lambda: not alive(family), seconds=5)


def test_children_are_started_only_from_the_main_thread(forever: Child) -> None:
    refusals = []

    def start() -> None:
        try:
            forever.start()
        except RuntimeError as refusal:
            refusals.append(refusal)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert len(refusals) == 1
    assert forever.pid is None


@pytest.mark.parametrize(("symptom", "fix"), KNOWN_FAULTS)
def test_known_faults_are_explained(symptom: str, fix: str) -> None:
    assert explain(f"FATAL: could not do it: {symptom}") == fix
    assert explain("something else") == ""
