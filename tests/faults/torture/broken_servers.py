"""Faults of what the processes stand on: Postgres, its clock, the broker, Pinterest."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import sqlalchemy as sa
from celery import Celery

from app.database import transaction
from tests.faults.hands_of_time import move_stored_times
from tests.faults.torture import witness
from tests.faults.torture.ground import Ground
from tests.faults.torture.moods import LATEST_S, MOODS, fall_into
from tests.faults.torture.publisher import Publisher
from workers.configuration import configuration

STEPS_S = (2.0, -2.0, 60.0, -60.0, 7_200.0, -7_200.0)
"""By which stored times move."""
LONGEST_SILENCE_S = 3.0
QUIET_S = 3.0
"""How long upstream holds back for the broker to be emptied of messages."""
_SESSIONS = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database()
   AND application_name = 'pinfold' AND pid <> pg_backend_pid()
 ORDER BY query LIKE '%COPY%' AND state = 'active' DESC, pid
"""
_LISTS_MADE = "SELECT count(*) = 0 FROM customer_list WHERE pinterest_audience_id IS NULL"
Later = Callable[[float, Callable[[], None]], None]
Note = Callable[..., None]


class BrokenServers:
    def __init__(
        self,
        ground: Ground,
        publisher: Publisher,
        chance: random.Random,
        later: Later,
        wake_later: Later,
        note: Note,
    ) -> None:
        self._ground, self._publisher, self._chance = ground, publisher, chance
        self._later, self._wake_later, self._note = later, wake_later, note
        self._steps_to_come = 0
        self._is_silent = False

    def faults(self) -> list[tuple[float, Callable[[], None]]]:
        return [
            (20.0, self.crash_postgres),
            (4.0, self.end_sessions),
            (6.0, self.dawdle),
            (8.0, self.forget_hints),
            (15.0, self.forget_everything),
            (25.0, self.silence_broker),
            (30.0, self.restart_broker),
            (4.0, self.deliver_again),
            (12.0, self.ring_everywhere),
            (30.0, self.step_clock),
            (4.0, self.change_mood),
        ]

    # Postgres.

    def crash_postgres(self) -> None:
        self._note("postgres-crash")
        self._ground.crash_postgres()

    def end_sessions(self) -> None:
        """End a few sessions, first of all those in the midst of a COPY."""
        with transaction(self._ground.deployment.engine) as tx:
            pids = list(tx.exec_driver_sql(_SESSIONS.replace("%", "%%")).scalars())
            for pid in pids[: self._chance.randrange(1, 4)]:
                tx.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
                self._note("session-ended", pid)

    def dawdle(self) -> None:
        """Let commits of intake take long, or end with their session, or not."""
        slow, broken = self._chance.choice(((0, 0), (300, 0), (100, 100), (0, 200)))
        witness.let_dawdle(self._ground.deployment, slow, broken)
        self._note("dawdling", f"{slow} {broken}")

    def step_clock(self) -> None:
        """Turn the database's clock, once nothing is on its way that only time keeps in order."""
        with transaction(self._ground.deployment.engine) as tx:
            if not tx.exec_driver_sql(_LISTS_MADE).scalar_one():
                return
        self._steps_to_come += 1
        self.change_mood()
        seconds = self._chance.choice(STEPS_S)
        nothing_is_late_from = time.monotonic() + LATEST_S + 1

        def step() -> None:
            try:
                if time.monotonic() >= nothing_is_late_from:  # earlier where the torture is over
                    move_stored_times(self._ground.workshop, seconds)
                    self._note("clock-step", seconds)
            finally:
                self._steps_to_come -= 1

        self._later(LATEST_S + 1, step)

    # The broker. While it is silent, whoever spoke to it would wait.

    def forget_hints(self) -> None:
        if not self._is_silent:
            self._ground.broker.forget_hints()
            self._note("broker-wipe", "hints")

    def forget_everything(self) -> None:
        """Empty the broker, once upstream has held back and no message of its own waits."""
        self._publisher.holding.set()

        def forget() -> None:
            try:
                idle = not self._is_silent and self._publisher.under_way == 0
                if idle and self._ground.broker.waiting() == 0:
                    self._ground.broker.forget_everything()
                    self._note("broker-wipe", "everything")
            finally:
                self._publisher.holding.clear()

        self._later(QUIET_S, forget)

    def silence_broker(self) -> None:
        self._note("broker-silent")
        self._is_silent = True
        self._ground.broker.silence()
        silence = 1 + self._chance.random() * (LONGEST_SILENCE_S - 1)
        self._wake_later(silence, self._let_speak)

    def _let_speak(self) -> None:
        self._ground.broker.speak()
        self._is_silent = False

    def restart_broker(self) -> None:
        if not self._is_silent:
            self._note("broker-restart")
            self._ground.broker.restart()

    def deliver_again(self) -> None:
        if not self._is_silent:
            self._ground.broker.deliver_again()
            self._note("delivered-again")

    def ring_everywhere(self) -> None:
        """Ring five times for every audience and every list, in any order."""
        if self._is_silent:
            return
        with transaction(self._ground.deployment.engine) as tx:
            hints = [
                (f"pinfold.{task}", row_id)
                for task, table in (("flush", "audience"), ("deliver", "customer_list"))
                for row_id in tx.exec_driver_sql(f"SELECT id FROM {table}").scalars()
            ] * 5
        self._chance.shuffle(hints)
        ringing = Celery(config_source=configuration(self._ground.deployment.settings))
        for task, row_id in hints:
            ringing.send_task(task, args=(row_id,), expires=60, retry=False)
        ringing.close()
        self._note("rung-everywhere")

    # Pinterest.

    def change_mood(self) -> None:
        mood = self._chance.choice(sorted(MOODS))
        may_be_late = self._steps_to_come == 0
        fall_into(self._ground.simulator, mood, self._chance.getrandbits(32), late=may_be_late)
        self._note("mood", mood)
