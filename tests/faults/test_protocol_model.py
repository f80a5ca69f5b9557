"""The whole protocol under generated histories: whatever befalls it, in whatever order.

Hypothesis makes up histories out of calls of intake, slow ones too, cuts, deliveries, every answer
of Pinterest, workers that die, freeze, or go on after another one took over, people's wishes, and
clocks that jump. After each move the books balance, the charges cover what Pinterest may have
processed, and nothing took effect out of order; in the end everything is delivered.

``PINFOLD_TEST_MODEL_EXAMPLES`` and ``PINFOLD_TEST_MODEL_STEPS`` ask for more histories, or longer
ones; they are other ones each time then.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.audiences import activate, deactivate, pause, request_flush, resume
from app.connections import change_settings
from app.deployment import Deployment
from app.errors import Refused
from app.gate import GateBusy
from app.purging import purge_receipts_once
from app.resuming import retry
from app.rolling import roll_over
from app.settings import CAP
from tests.faults.hands_of_time import move_stored_times
from tests.faults.histories import TROUBLE, Delivery, calls, deliveries, interruptions
from tests.faults.mortal_workers import Fate, Interruption
from tests.faults.protocol_world import AUDIENCES, SETTINGS, World
from tests.faults.reckoning import Said
from tests.workshop import Workshop

EXAMPLES = os.environ.get("PINFOLD_TEST_MODEL_EXAMPLES")
STEPS = os.environ.get("PINFOLD_TEST_MODEL_STEPS")
LEASE_S = SETTINGS["lease"] + 50.0
QUARANTINE_S = SETTINGS["quarantine"] + 50.0
HOUR, WEEK = 3_600.0, 604_800.0
WISHES: dict[str, tuple[Callable[[Deployment, int], object], str]] = {
    "pause": (pause, "paused"),
    "resume": (resume, "active"),
    "end": (deactivate, "deactivated"),
}


class Protocol(RuleBasedStateMachine):
    world: World

    @initialize()
    def begin(self) -> None:
        self.world.begin()

    # Intake.

    @rule(said=calls(), key=st.sampled_from([None, None, "a", "b"]))
    def a_call_comes(self, said: list[Said], key: str | None) -> None:
        self.world.stage(said, key)

    @precondition(lambda self: self.world.said)
    @rule(number=st.integers(0, 10))
    def a_call_comes_again(self, number: int) -> None:
        key = sorted(self.world.said)[number % len(self.world.said)]
        self.world.stage(self.world.said[key], key)

    @precondition(lambda self: len(self.world.slow) < 2)
    @rule(said=calls())
    def a_slow_call_begins(self, said: list[Said]) -> None:
        self.world.begin_slowly(said)

    @precondition(lambda self: self.world.slow)
    @rule(number=st.integers(0, 1), commits=st.booleans())
    def a_slow_call_ends(self, number: int, commits: bool) -> None:
        self.world.end_slowly(number % len(self.world.slow), commits=commits)

    # Workers.

    @rule(which=st.integers(0, 1))
    def an_audience_is_cut(self, which: int) -> None:
        self._cut(which, None)

    @rule(which=st.integers(0, 1), interruption=interruptions("flush"))
    def a_cut_is_interrupted(self, which: int, interruption: Interruption) -> None:
        self._cut(which, interruption)

    @rule(interruption=st.none() | interruptions("compact"))
    def small_chunks_are_joined(self, interruption: Interruption | None) -> None:
        self.world.compact(interruption)

    @rule(which=st.integers(0, 1))
    def an_audience_is_cut_and_delivered(self, which: int) -> None:
        self._cut(which, None)
        for list_id in self.world.list_ids():
            self.world.deliver(list_id)

    @rule(work=deliveries())
    def a_list_is_delivered(self, work: Delivery) -> None:
        self._deliver(work)

    @rule(work=deliveries(), interruption=interruptions("deliver"))
    def a_delivery_is_interrupted(self, work: Delivery, interruption: Interruption) -> None:
        self._deliver(work, interruption)

    @rule(
        work=deliveries(),
        trouble=TROUBLE,
        skip=st.sampled_from([0, 0, 1]),
        where=st.sampled_from(["any write", "any write", "any"]),
        interruption=st.none() | interruptions("deliver"),
    )
    def a_delivery_meets_trouble(
        self,
        work: Delivery,
        trouble: str,
        skip: int,
        where: str,
        interruption: Interruption | None,
    ) -> None:
        if trouble == "late":
            self._deliver(work, interruption, late_after=skip)
            return
        more = {"reset": 600} if trouble == "rate_limited" else {}
        self.world.workshop.simulator.faults.script(trouble, operation=where, skip=skip, **more)
        self._deliver(work, interruption)
        self.world.beginning.behave()

    @rule(work=deliveries(), later=calls(), its_worker_dies=st.booleans())
    def a_later_upload_follows_a_late_request(
        self, work: Delivery, later: list[Said], its_worker_dies: bool
    ) -> None:
        list_id = self._list_of(work)
        dies = Interruption(Fate.DIES, "request", "after", 1) if its_worker_dies else None
        self.world.deliver(list_id, dies, late_after=0)
        if its_worker_dies:
            self.world.let_pass(LEASE_S)
        retry(self.world.deployment)
        self.world.deliver(list_id)
        self._stage_and_cut(later)
        self.world.deliver(list_id)

    @rule(
        work=deliveries(),
        place=st.sampled_from(["request", "_post", "send", "_await_slot", "_step", "_begin"]),
        refusal=st.none() | TROUBLE,
        wakes=st.booleans(),
    )
    def another_worker_takes_a_frozen_ones_place(
        self, work: Delivery, place: str, refusal: str | None, wakes: bool
    ) -> None:
        if refusal is not None and refusal != "late":
            self.world.workshop.simulator.faults.script(refusal, operation="any write")
        list_id = self._list_of(work)
        frozen = len(self.world.frozen)
        self.world.deliver(list_id, Interruption(Fate.FREEZES, place, "after", 1))
        self.world.beginning.behave()
        self.world.let_pass(LEASE_S)
        self.world.deliver(list_id)
        if wakes and len(self.world.frozen) > frozen:
            self.world.wake(frozen)

    @rule(
        work=deliveries(),
        place=st.sampled_from(["_step", "_await_slot"]),
        by_a_pause=st.booleans(),
    )
    def people_stop_what_a_frozen_worker_is_about_to_send(
        self, work: Delivery, place: str, by_a_pause: bool
    ) -> None:
        list_id = self._list_of(work)
        which, kind = self.world.audience_and_kind(list_id)
        frozen = len(self.world.frozen)
        self.world.deliver(list_id, Interruption(Fate.FREEZES, place, "after", 1))
        self._let_send(which, kind, False, by_a_pause)
        if len(self.world.frozen) > frozen:
            self.world.wake(frozen)
        self.world.check()
        self._let_send(which, kind, True, by_a_pause)

    def _let_send(self, which: int, kind: str, allowed: bool, by_a_pause: bool) -> None:
        if by_a_pause:
            self.an_audience_changes_its_state(which, "resume" if allowed else "pause")
        else:
            self._forward(kind, allowed)

    @precondition(lambda self: self.world.frozen)
    @rule(number=st.integers(0, 9))
    def a_frozen_worker_goes_on(self, number: int) -> None:
        self.world.wake(number % len(self.world.frozen))

    @precondition(lambda self: self.world.frozen)
    @rule(number=st.integers(0, 9))
    def a_frozen_worker_dies(self, number: int) -> None:
        self.world.kill(number % len(self.world.frozen))

    @precondition(lambda self: self.world.way.late)
    @rule(number=st.integers(0, 9))
    def a_late_request_arrives(self, number: int) -> None:
        late = self.world.way.late
        self.world.way.let_arrive(late[number % len(late)])

    def _cut(self, which: int, interruption: Interruption | None) -> None:
        audience_id = self.world.audience_ids[which]
        with suppress(Refused):
            request_flush(self.world.deployment, audience_id)
        self.world.cut(audience_id, interruption)

    def _stage_and_cut(self, said: list[Said]) -> None:
        self.world.stage(said, None)
        for which in range(len(AUDIENCES)):
            self._cut(which, None)

    def _deliver(
        self,
        work: Delivery,
        interruption: Interruption | None = None,
        late_after: int | None = None,
    ) -> None:
        self.world.deliver(self._list_of(work), interruption, late_after)

    def _list_of(self, work: Delivery) -> int:
        """Get ready for a delivery; returns the list that it is for."""
        if not self.world.lanes():
            self._stage_and_cut(work.said)
        if work.retried:
            retry(self.world.deployment)
        ids = self.world.lanes() or self.world.list_ids()
        return ids[work.which % len(ids)]

    # Time.

    @rule(seconds=st.sampled_from([LEASE_S, QUARANTINE_S, 2 * HOUR]))
    def time_passes(self, seconds: float) -> None:
        self.world.let_pass(seconds)

    @rule(forward=st.booleans())
    def the_clock_of_postgres_jumps_by_an_hour(self, forward: bool) -> None:
        # no quarantine outlasts a clock that skips it, so nothing may be on its way meanwhile
        if not (forward and self.world.on_their_way()):
            move_stored_times(self.world.workshop, -HOUR if forward else HOUR)

    @rule()
    def receipts_grow_old_and_are_purged(self) -> None:
        self.world.let_pass(WEEK + 2 * 24 * HOUR)
        purge_receipts_once(self.world.deployment)
        self.world.said.clear()

    # People.

    @rule(
        which=st.integers(0, 1),
        wish=st.sampled_from(["pause", "resume", "resume", "end", "activate"]),
    )
    def an_audience_changes_its_state(self, which: int, wish: str) -> None:
        world, audience_id = self.world, self.world.audience_ids[which]
        upstream_id, name = list(AUDIENCES.items())[which]
        with suppress(Refused, GateBusy):
            if wish == "activate":
                activate(world.deployment, name, upstream_id, None)
                if world.states[audience_id] == "deactivated":
                    world.states[audience_id] = "active"
                return
            change, state = WISHES[wish]
            change(world.deployment, audience_id)
            world.states[audience_id] = state

    @rule(work=deliveries(), room=st.integers(-1, 4), reserve=st.integers(0, 1))
    def a_list_comes_near_its_cap(self, work: Delivery, room: int, reserve: int) -> None:
        list_id = self._list_of(work)
        used = self.world.workshop.value(
            "SELECT charged FROM customer_list WHERE id = :id", id=list_id
        )
        self._set_limit(max(0, used + room), reserve)
        self.world.deliver(list_id)

    @rule()
    def the_cap_is_lifted(self) -> None:
        self._set_limit(CAP, 0)

    def _set_limit(self, cap: int, reserve: int) -> None:
        self._settings(record_cap=cap, removal_reserve=reserve)
        self.world.set_limit(cap, reserve)

    @rule(kind=st.sampled_from(["email", "device_id", "other_digests"]))
    def a_kind_is_switched(self, kind: str) -> None:
        self._forward(kind, not self.world.forwards[kind])

    def _forward(self, kind: str, wanted: bool) -> None:
        self._settings(**{f"forward_{kind}": wanted})
        self.world.forwards[kind] = wanted

    @rule(records=st.integers(1, 5))
    def requests_get_another_size(self, records: int) -> None:
        self._settings(records_per_request=records)

    @rule()
    def a_person_retries(self) -> None:
        retry(self.world.deployment)

    @rule(which=st.integers(0, 1))
    def an_audience_is_rolled_over(self, which: int) -> None:
        with suppress(Refused):
            roll_over(self.world.deployment, self.world.audience_ids[which])

    def _settings(self, **values: object) -> None:
        change_settings(self.world.deployment, "main", **values)

    # What must hold.

    @invariant()
    def all_promises_are_kept(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self._everything_is_delivered()
        finally:
            self.world.clean_up()

    def _everything_is_delivered(self) -> None:
        for audience_id, state in self.world.states.items():
            if state == "paused":
                resume(self.world.deployment, audience_id)
                self.world.states[audience_id] = "active"
        self._set_limit(CAP, 0)
        self.a_person_retries()
        self.world.drain()
        self.world.judge()
        self.world.remember()


@pytest.fixture
def world(open_with: Callable[..., Workshop], tmp_path: Path) -> Iterator[World]:
    world = World(open_with(**SETTINGS), tmp_path)
    with world.played():
        yield world


MET = {
    *("sent", "refused", "unknown", "split", "quarantined", "over_cap", "not_forwarded"),
    *("woken", "strict"),
}


@pytest.mark.slow
def test_no_history_breaks_a_promise(world: World) -> None:
    class InThisWorld(Protocol):
        pass

    InThisWorld.world = world
    chosen = settings(
        max_examples=int(EXAMPLES or 20),
        stateful_step_count=int(STEPS or 30),
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(InThisWorld, settings=chosen)
    print(dict(world.met))
    assert EXAMPLES or world.met.keys() >= MET, "the histories do not meet what they should"
