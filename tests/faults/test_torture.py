"""A minute of torture: nothing may be violated."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.torture.brokers import RabbitMQ, Valkey
from tests.faults.torture.outcome import Outcome
from tests.faults.torture.run import torture

pytestmark = pytest.mark.slow
SEED = 38_140
"""By its dice each fault that has to be met comes first within 2.2 seconds of the torturer's clock:
within nine on a machine four times slower. Whether a process is ended by its dead-man hangs on
more."""
MET = (
    *("events", "uploads", "requests", "replies spoilt"),
    *("deaths by SIGKILL", "freezes", "sessions ended", "broker wipes", "restarts and silences"),
)


def assert_nothing_was_violated(outcome: Outcome) -> None:
    print(outcome.line())
    assert outcome.violations == []
    for what in MET:
        assert outcome.figures[what] > 0, f"the run met no {what}"


def test_a_minute_of_every_fault_at_once_violates_nothing(open_directory: Path) -> None:
    assert_nothing_was_violated(torture(open_directory, 60, SEED, Valkey, print))


@pytest.mark.rabbitmq
def test_half_a_minute_of_it_over_rabbitmq_violates_nothing(
    open_directory: Path, rabbitmq_url: str
) -> None:
    assert_nothing_was_violated(
        torture(open_directory, 30, SEED, lambda _: RabbitMQ(rabbitmq_url), print)
    )
