"""A run: set up, torture, let it come to rest, judge."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import orjson

from app.books import read_books
from tests.acceptance.fleet import PINFOLD, read_log
from tests.faults.torture import witness
from tests.faults.torture.brokers import Broker
from tests.faults.torture.conditions import BEATS
from tests.faults.torture.curse import DEEDS, DIED, PEACE, STRANGE
from tests.faults.torture.dice import Deeds
from tests.faults.torture.ground import LOOK_S, Ground, prepared_ground
from tests.faults.torture.judge import judge
from tests.faults.torture.moods import LATEST_S, behave, refuse_poison
from tests.faults.torture.outcome import Outcome, count
from tests.faults.torture.people import Diary, Moments
from tests.faults.torture.people_in_charge import back_to_usual, let_go_on
from tests.faults.torture.publisher import Publisher
from tests.faults.torture.secrecy import leaks
from tests.faults.torture.stalls import Stalls
from tests.faults.torture.torturer import TRANSIENT, Torturer
from tests.faults.torture.upstream import all_callers

BOOKS_EVERY_S = 4.0
PROGRESS_EVERY_S = 10.0
REST_S = 300.0
"""Within it all that was accepted is sent, once nothing is broken any more."""
Tell = Callable[[str], None]


class Run:
    def __init__(self, ground: Ground, tell: Tell) -> None:
        self._ground, self._tell = ground, tell
        self._deeds = Deeds(ground.place / DEEDS)
        self._diary = Diary()
        moments = Moments()
        self._publisher = Publisher(ground, self._diary, moments, "publisher")
        self._upstreams = [*all_callers(ground, self._diary, moments), self._publisher]
        self._unbalanced: Counter[str] = Counter()
        self._stalls = Stalls()
        self._began = time.monotonic()
        self._seconds = 0.0

    def torture(self, seconds: float) -> None:
        """Everything at once, for so long."""
        witness.set_up(self._ground.deployment, self._ground.seed)
        refuse_poison(self._ground.simulator)
        slowness = self._ground.start_all()
        self._torturer = Torturer(self._ground, self._publisher, self._deeds, slowness)
        self._tell(f"everything runs; faults come {slowness:.1f} times slower than usual")
        self._stalls.start()
        for upstream in self._upstreams:
            upstream.start()
        self._began, self._seconds = time.monotonic(), seconds
        next_books = next_line = self._began
        while time.monotonic() < self._began + seconds:
            self._torturer.work()
            if time.monotonic() >= next_books:
                next_books = time.monotonic() + BOOKS_EVERY_S
                self._look_at_books()
            if time.monotonic() >= next_line:
                next_line += PROGRESS_EVERY_S
                self._tell(self._progress())
            time.sleep(LOOK_S)

    def come_to_rest(self) -> list[str]:
        """End every fault and wait; returns what had not come to rest in time."""
        for upstream in self._upstreams:
            upstream.stopping.set()
        (self._ground.place / PEACE).touch()
        rung_before = {name: self._times_rung(name) for name in BEATS}
        self._torturer.finish()
        behave(self._ground.simulator)
        self._insist(lambda: witness.let_dawdle(self._ground.deployment, 0, 0))
        self._insist(lambda: back_to_usual(self._ground))
        self._insist(self._ground.broker.forget_hints)
        for upstream in self._upstreams:
            upstream.join(30)
        silent = list(BEATS)
        deadline = time.monotonic() + REST_S
        next_line = time.monotonic() + PROGRESS_EVERY_S
        while time.monotonic() < deadline:
            self._torturer.work()
            with suppress(*TRANSIENT):
                let_go_on(self._ground, self._torturer.note)
                if self._ground.broker.waiting():
                    self._ground.broker.deliver_again()
                self._look_at_books()
                silent = [name for name in BEATS if self._times_rung(name) == rung_before[name]]
                if not silent and self._is_at_rest():
                    time.sleep(LATEST_S)
                    return []
            if time.monotonic() >= next_line:
                next_line += PROGRESS_EVERY_S
                self._tell(f"coming to rest: {self._waiting():,} identities wait")
            time.sleep(2)
        return [
            f"no rest: {self._waiting()} identities wait after {REST_S:g} s, "
            f"{', '.join(silent) or 'none'} of the beats rang no more"
        ]

    def judge(self) -> Outcome:
        """Stop the processes, and judge what they did."""
        ground = self._ground
        balanced = self._books_on_the_command_line()
        ground.stop()
        self._torturer.end()
        self._stalls.end()
        stalled = self._stalls.before
        judgement = judge(ground.deployment, ground.simulator.books, self._diary, stalled)
        violations = [f"unbalanced: {each}" for each, _ in self._unbalanced.most_common()]
        violations += [f"unbalanced at the end: {each}" for each in balanced]
        violations += [
            f"task argument: {deed.what}" for deed in self._deeds.read() if deed.kind == STRANGE
        ]
        violations += leaks(ground.place)
        violations += judgement.violations
        figures = count(ground, self._diary, self._deeds, self._torturer.done, judgement)
        return Outcome(ground.seed, figures, violations)

    def _insist(self, what: Callable[[], None]) -> None:
        deadline = time.monotonic() + REST_S
        while True:
            try:
                return what()
            except TRANSIENT:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
                self._torturer.work()

    def _look_at_books(self) -> None:
        """In the midst of everything they must balance, too."""
        with suppress(*TRANSIENT):
            for book in read_books(self._ground.deployment):
                if not book.balanced:
                    name = f"{book.upstream_id}-{book.list_type}"
                    if not self._unbalanced[name]:
                        at = time.monotonic() - self._began
                        self._tell(f"unbalanced after {at:.0f} s: {book}")
                    self._unbalanced[name] += 1

    def _books_on_the_command_line(self) -> list[str]:
        done = subprocess.run(
            [*PINFOLD, "books", "--json"],
            env=self._ground.environment,
            cwd=self._ground.place,
            capture_output=True,
            timeout=120,
            check=True,
        )
        books = orjson.loads(done.stdout)
        listed = books["lists"] if isinstance(books, dict) else books
        return [
            f"{each['audience']}-{each['list_type']}" for each in listed if not each["balanced"]
        ]

    def _times_rung(self, beat: str) -> int:
        """How often a beat has asked what is due, whatever time it takes it to be."""
        return read_log(self._ground.place / f"{beat}.log").count("Sending due task what is due")

    def _waiting(self) -> int:
        with suppress(*TRANSIENT):
            return sum(book.waiting for book in read_books(self._ground.deployment))
        return -1

    def _is_at_rest(self) -> bool:
        in_flight = "SELECT count(*) FROM attempt WHERE state = 'in_flight'"
        return (
            self._ground.broker.waiting() == 0
            and self._waiting() == 0
            and self._ground.workshop.value(in_flight) == 0
        )

    def _progress(self) -> str:
        done = self._torturer.done
        return (
            f"{time.monotonic() - self._began:4.0f} s of {self._seconds:g}: "
            f"{self._diary.events():,} events, "
            f"{len(self._ground.simulator.books.writes()):,} writes, "
            f"{done['killed'] + self._deeds.count(DIED):,} killed, "
            f"{done['postgres-crash']} crashes of Postgres, "
            f"{sum(self._unbalanced.values())} books off"
        )


@contextmanager
def _no_noise() -> Iterator[None]:
    """psycopg2 also prints the error that it raises where a COPY breaks off."""

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if kind is not SystemError:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = show
    try:
        yield
    finally:
        sys.excepthook = sys.__excepthook__


def torture(
    place: Path, seconds: float, seed: int, make_broker: Callable[[Path], Broker], tell: Tell
) -> Outcome:
    """One run in a directory of its own, where it writes down what was violated, if anything."""
    with _no_noise(), prepared_ground(place, seed, seconds, make_broker) as ground:
        run = Run(ground, tell)
        run.torture(seconds)
        restless = run.come_to_rest()
        outcome = run.judge()
        outcome.violations += restless
    if outcome.violations:
        (place / "violations").write_text("\n".join(outcome.violations) + "\n")
    return outcome
