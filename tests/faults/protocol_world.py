"""One installation that the protocol's model plays with.

Postgres, the simulated Pinterest and every step are the real ones. What many processes and days
would be needed for is stood in for: workers' clocks, their dead-man timers, slow transactions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.audiences import activate
from app.books import read_books
from app.compacting import compact_once
from app.delivery import deliver_once
from app.deployment import Deployment
from app.due import audiences_due
from app.due_lists import lists_due
from app.errors import Unavailable
from app.flush import flush_once
from app.settings import CAP
from app.staging import Intake, Staged, stage
from tests.faults.hands_of_time import let_pass
from tests.faults.kept_beginning import Beginning, commit_without_delay
from tests.faults.late_requests import Way
from tests.faults.mortal_workers import (
    Fate,
    Interruption,
    Process,
    Step,
    WorkersClock,
    armed,
)
from tests.faults.promises import Promises
from tests.faults.reckoning import LISTS, Said, Switches, Word, words_of
from tests.faults.slow_calls import SlowCall, committing_slowly
from tests.workshop import Workshop

AUDIENCES = {"31001": "VIP", "31002": "Buyers"}
KIND_OF = {"EMAIL": "email", "MAID": "device_id"}
"""The switch of a connection that decides about a list."""
SETTINGS: dict[str, Any] = {
    "connect_timeout": 20,
    "read_timeout": 30,
    "call_deadline": 60,
    "dead_man": 300,
    "lease": 400,
    "quarantine": 1_000,
    "backoff_first": 200,
    "slice": 600,
    "patience": 0.05,
    "reads_per_minute": 100_000,
    "records_per_request": 3,
    "window_messages": 8,
    "window_identities": 12,
}
LATEST_S = 900
"""How long after it was sent a request may still be applied: less than the quarantine."""
GATE_PATIENCE_MS = 30


class World:
    def __init__(self, workshop: Workshop, scratch: Path) -> None:
        self.workshop, self.deployment = workshop, workshop.deployment
        self.clock = WorkersClock()
        self.met: Counter[str] = Counter()
        """What became of attempts, batches and frozen workers, in all histories."""
        self._rested: list[Process] = []
        """Processes that are up and have nothing to do."""
        commit_without_delay(self.deployment)
        workshop.connect()
        self.audience_ids = [
            activate(self.deployment, name, upstream_id, None).audience_id
            for upstream_id, name in AUDIENCES.items()
        ]
        workshop.deliver_all()
        self.beginning = Beginning(workshop, scratch)

    def begin(self) -> None:
        """A new history."""
        self.beginning.restore()
        self.way = Way(self.workshop.simulator, self.clock)
        self.promises = Promises(self.workshop, self.way, self.audience_ids)
        self.frozen: list[Step] = []
        self.slow: list[SlowCall] = []
        self.said: dict[str, list[Said]] = {}
        """The calls that were committed, by key."""
        self.states = dict.fromkeys(self.audience_ids, "active")
        self.forwards = {"email": True, "device_id": True, "other_digests": True}
        self.limit = (CAP, 0)
        """The cap and what of it is reserved for removals."""
        self._calls = 0
        self._intake = Intake(self.deployment, "test")
        self._last_attempt: int = self.workshop.value("SELECT max(id) FROM attempt")

    @contextmanager
    def played(self) -> Iterator[None]:
        """What one process stands in for many: clocks, timers, the way to Pinterest, slow calls."""
        with pytest.MonkeyPatch.context() as patched, Way.carrying(lambda: self.way):
            patched.setattr("app.turn.time", self.clock)
            patched.setattr("app.delivery.time", self.clock)
            patched.setattr("app.turn.armed", armed)
            patched.setattr("app.gate.CLOSE_TIMEOUT_MS", GATE_PATIENCE_MS)
            patched.setattr("app.runs.GROWTH", 2)  # histories are short
            patched.setattr("app.compacting.REST", timedelta(0))
            patched.setattr("app.staging.self_committing", committing_slowly)
            yield
        for process in self._rested:
            process.end()

    # Intake.

    def stage(self, said: list[Said], key: str | None) -> None:
        """A call comes; where its key is known, it must change nothing."""
        words = self._acceptable(said)
        before = self._rows_of_intake()
        staged = stage(self._intake, _events(said), dedupe_key=key)
        if key in self.said:
            assert staged == Staged(0, [], duplicate=True)
            assert self._rows_of_intake() == before, "a duplicate call changed something"
        else:
            self._note_accepted(staged, said, words, key)

    def begin_slowly(self, said: list[Said]) -> None:
        words = self._acceptable(said)
        key = f"slow {self._calls}"
        step = self._step(
            lambda own: stage(Intake(own, "test"), _events(said), dedupe_key=key), None
        )
        step.begin()
        assert step.frozen, step.failure
        self.slow.append(SlowCall(step, said, words, key))

    def end_slowly(self, number: int, *, commits: bool) -> None:
        step, said, words, key = self.slow.pop(number)
        if not commits:
            step.die()
            return
        step.go_on()
        self._look_at(step)
        self._note_accepted(step.result, said, words, key)

    def _acceptable(self, said: list[Said]) -> dict[int, list[Word]]:
        """What ought to be accepted of a call, by audience."""
        self._calls += 1
        words: dict[int, list[Word]] = {}
        for each in said:
            audience_id = self.audience_ids[each.audience]
            if self.states[audience_id] != "deactivated":
                words.setdefault(audience_id, []).extend(words_of([each], self._calls))
        return words

    def _note_accepted(
        self, staged: Any, said: list[Said], words: dict[int, list[Word]], key: str | None
    ) -> None:
        good = [each for each in said if self.audience_ids[each.audience] in words]
        assert (staged.accepted, staged.duplicate) == (len(good), False)
        if key is not None:
            self.said[key] = said
        self.promises.note_accepted(words)

    def _rows_of_intake(self) -> list[Any]:
        return self.workshop.rows(
            "SELECT (SELECT count(*) FROM receipt), (SELECT count(*) FROM staged_chunk)"
        )

    # Workers.

    def cut(self, audience_id: int, interruption: Interruption | None = None) -> None:
        step = self._step(lambda own: flush_once(own, audience_id), interruption)
        step.switches = Switches(active=self.states[audience_id] == "active", **self.forwards)
        step.begin()
        self._look_at(step)

    def compact(self, interruption: Interruption | None = None) -> None:
        step = self._step(compact_once, interruption)
        step.joins_chunks = True
        step.begin()
        self._look_at(step)

    def deliver(
        self, list_id: int, interruption: Interruption | None = None, late_after: int | None = None
    ) -> None:
        step = self._step(lambda own: deliver_once(own, list_id), interruption)
        step.late_after = late_after
        step.begin()
        self._look_at(step)

    def wake(self, number: int) -> None:
        step = self.frozen.pop(number)
        before = self._taken_over(step)
        step.go_on()
        assert before is None or before == self._taken_over(step), "its lease was taken over"
        self.met["killed by its timer" if step.dead else "woken"] += 1
        self._look_at(step)

    def _taken_over(self, step: Step) -> Any:
        """How a step's attempt and list stand that others have taken over; None without any."""
        standing = self.workshop.rows(
            "SELECT a.state, l.charged, l.epoch FROM attempt a"
            " JOIN customer_list l ON l.id = a.customer_list_id"
            " WHERE a.id = :id AND l.epoch > a.epoch",
            id=step.attempt.id if step.attempt else 0,
        )
        return standing or None

    def kill(self, number: int) -> None:
        self.frozen.pop(number).die()

    def lanes(self) -> list[int]:
        """The lists for which something waits."""
        return [
            row.id
            for row in self.workshop.rows(
                "SELECT DISTINCT customer_list_id AS id FROM batch"
                " WHERE state = 'waiting' ORDER BY 1"
            )
        ]

    def list_ids(self) -> list[int]:
        return [row.id for row in self.workshop.rows("SELECT id FROM customer_list ORDER BY id")]

    def _step(
        self, work: Callable[[Deployment], object], interruption: Interruption | None
    ) -> Step:
        if not self._rested:
            self._rested.append(Process(self.deployment.settings, self._note_commit))
        return Step(self._rested.pop(), work, self.clock, interruption)

    def _look_at(self, step: Step) -> None:
        """What a step did that ended, or froze."""
        if step.frozen:
            self.frozen.append(step)
        elif not step.dead:
            self._rested.append(step.process)
        cut_off = step.interruption is not None and step.interruption.fate is Fate.CUT_OFF
        if step.failure is not None and not (cut_off and isinstance(step.failure, Unavailable)):
            raise step.failure
        if step.switches is not None:
            self.promises.note_cut(step.switches)
        if step.joins_chunks:
            self.promises.note_joined()

    def _note_commit(self, step: Step, name: str) -> None:
        if name == "_step":
            step.limits = [self.limit]
        if name == "send":
            self._note_charge(step)

    def _note_charge(self, step: Step) -> None:
        """A charge keeps to the cap, and none is made while an earlier upload may still land."""
        row = self.workshop.rows(
            "SELECT a.*, l.charged, l.audience_id, l.list_type"
            " FROM attempt a JOIN customer_list l ON l.id = a.customer_list_id"
            " ORDER BY a.id DESC LIMIT 1"
        )[0]
        if row.id <= self._last_attempt:
            return  # there was no room: nothing was charged
        self._last_attempt, step.attempt = row.id, row
        step.answered, step.charged_at = False, self.clock.monotonic()
        assert self.states[row.audience_id] == "active", "its audience is not active"
        assert self.is_forwarded(row.list_type), "its kind is switched off"
        if row.record_count:
            reserved = row.purpose != "REMOVE"
            limit = max(cap - reserve * reserved for cap, reserve in step.limits)
            assert row.charged <= limit, f"{row.charged} are charged under a cap of {limit}"
        for earlier in self.on_their_way():
            same_list = earlier.customer_list_id == row.customer_list_id
            assert not same_list or row.upload_id is None or earlier.upload_id >= row.upload_id, (
                "a later upload is charged while Pinterest may still apply an earlier one"
            )

    def on_their_way(self) -> list[Any]:
        """The attempts whose writes may still reach Pinterest, though nobody waits for them."""
        dead_man = self.deployment.settings.dead_man
        now = self.clock.monotonic()
        awake_again = [
            step.attempt
            for step in self.frozen
            if not step.answered and now - step.charged_at < dead_man
        ]
        attempts = [*awake_again, *(late.attempt for late in self.way.late)]
        return [each for each in attempts if each.purpose in ("ADD", "REMOVE")]

    # Time and people.

    def let_pass(self, seconds: float) -> None:
        for late in list(self.way.late):
            if self.clock.monotonic() + seconds - late.sent_at > LATEST_S:
                self.way.let_arrive(late)
        let_pass(self.workshop, seconds)
        self.clock.skipped += seconds

    def set_limit(self, cap: int, reserve: int) -> None:
        self.limit = (cap, reserve)
        for step in self.frozen:
            step.limits.append(self.limit)

    def is_forwarded(self, list_type: str) -> bool:
        return self.forwards[KIND_OF[list_type]]

    def audience_and_kind(self, list_id: int) -> tuple[int, str]:
        """Of a list: the number of its audience, and what has to be forwarded for it."""
        (row,) = self.workshop.rows(
            "SELECT audience_id, list_type FROM customer_list WHERE id = :id", id=list_id
        )
        return self.audience_ids.index(row.audience_id), KIND_OF[row.list_type]

    # What must hold.

    def check(self) -> None:
        """After every move."""
        self._note_what_stands()
        self.promises.check()

    def _note_what_stands(self) -> None:
        """Which uploads have met a low cap, or were there while they might not be sent."""
        for number, upload in self.promises.uploads.items():
            ended = self.states[upload.audience_id] == "deactivated"
            for list_type in LISTS:
                if self.limit[0] < CAP:
                    self.promises.under_a_low_cap.add((number, list_type))
                if ended or not self.is_forwarded(list_type):
                    self.promises.switched_off.add((number, list_type))

    def judge(self) -> None:
        """Once all is delivered; counts what had to be delivered whatever befell."""
        self.met["strict"] += self.promises.judge()

    # The end.

    def drain(self) -> None:
        """All faults end, time passes, and nobody but beat and the workers does anything."""
        self.beginning.behave()
        while self.slow:
            self.end_slowly(0, commits=True)
        while self.frozen:
            self.wake(0)
        for _ in range(30):
            self.let_pass(self.deployment.settings.flush_age + 1)
            with self.workshop.transaction() as tx:
                due = audiences_due(tx, self.deployment.settings)
            for audience_id in due:
                self.cut(audience_id)
            self._deliver_all()
            self.check()
            if not any(book.waiting for book in read_books(self.deployment)):
                return
        raise AssertionError("what was accepted is not delivered")

    def _deliver_all(self) -> None:
        for _ in range(100):
            with self.workshop.transaction() as tx:
                due = lists_due(tx, self.deployment.settings)
            if not due:
                return
            for list_id in due:
                self.deliver(list_id)
        raise AssertionError("delivering does not end")

    def remember(self) -> None:
        """Count what became of this history's attempts and batches."""
        for row in self.workshop.rows(
            "SELECT state, count(*) FROM attempt WHERE batch_id IS NOT NULL GROUP BY 1"
            " UNION ALL SELECT state, count(*) FROM batch WHERE state <> 'sent' GROUP BY 1"
        ):
            self.met[row.state] += row.count

    def clean_up(self) -> None:
        """Leave no thread and no transaction behind."""
        for step in [*self.frozen, *(call.step for call in self.slow)]:
            step.die()


def _events(said: list[Said]) -> list[Any]:
    names = list(AUDIENCES)
    return [each.event(names[each.audience]) for each in said]
