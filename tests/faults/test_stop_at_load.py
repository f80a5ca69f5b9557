"""Everything is told to stop at full load, again and again: row 36 of the fault matrix."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from signal import SIGINT, SIGQUIT, SIGTERM, Signals

import psutil
import pytest

from app.sandbox.embedded_valkey import EmbeddedValkey
from tests.acceptance.conftest import FleetMaker
from tests.acceptance.fleet import BEAT_S, PATIENT, Fleet, exit_code, happens, read_log
from tests.faults.site import IN_DOUBT, QUEUE, RECEIVED, site_under_load
from tests.faults.upstreams import Publisher, sending

AT_ONCE = 5
BY_PEOPLE = 1
"""With which Celery's worker ends after SIGINT, and may after SIGQUIT; all else ends with 0."""

pytestmark = pytest.mark.slow


def loaded(fleets: FleetMaker, broker_url: str, **times: str) -> Fleet:
    return fleets(broker_url, **(times | {"PINFOLD_RECORDS_PER_REQUEST": "1000"}))


@pytest.mark.parametrize(
    ("broker", "rounds"),
    [("valkey", 10), pytest.param("rabbitmq", 2, marks=pytest.mark.rabbitmq)],
)
def test_stopping_everything_at_full_load_leaves_nothing_in_doubt(
    request: pytest.FixtureRequest, fleets: FleetMaker, broker: str, rounds: int
) -> None:
    """Fifty stops of each: five workers, beats and intakes at once, and a service of five."""
    fleet = loaded(fleets, request.getfixturevalue(f"{broker}_url"), **PATIENT)
    with site_under_load(fleet, AT_ONCE) as site:
        for _ in range(rounds):
            site.wait_for_full_load()
            ended = site.end_by([SIGTERM])
            assert ended == dict.fromkeys(ended, 0)
            assert fleet.count(IN_DOUBT) == 0
            site.start()
    site.assert_nothing_is_lost()
    site.assert_nothing_is_doubled()


@pytest.mark.parametrize(
    ("signals", "status"), [([SIGTERM, SIGTERM], 0), ([SIGINT], BY_PEOPLE)], ids=["twice", "Ctrl-C"]
)
def test_being_told_twice_or_by_a_key_ends_everything_as_gently(
    fleets: FleetMaker, valkey_url: str, signals: list[Signals], status: int
) -> None:
    fleet = loaded(fleets, valkey_url, **PATIENT)
    with site_under_load(fleet, 1) as site:
        site.wait_for_full_load()
        ended = site.end_by(signals)
        assert ended == {name: status * name.startswith("worker") for name in ended}
        assert fleet.count(IN_DOUBT) == 0
        site.start()
    site.assert_nothing_is_lost()
    site.assert_nothing_is_doubled()


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_a_worker_that_must_end_now_loses_nothing(
    fleets: FleetMaker, valkey_url: str, times: int
) -> None:
    """SIGQUIT lets requests under way end, the second one does not.

    What that leaves in doubt waits for the quarantine, so its times are the usual short ones.
    """
    fleet = loaded(fleets, valkey_url, **(PATIENT if times == 1 else {}))
    with site_under_load(fleet, 1) as site:
        site.wait_for_full_load()
        (status,) = site.end_by([SIGQUIT] * times, "worker").values()
        assert status in {0, BY_PEOPLE}
        if times == 1:
            assert fleet.count(IN_DOUBT) == 0
        site.end_by([SIGTERM])
        site.start()
    site.assert_nothing_is_lost()


def test_an_intake_that_ends_gives_back_what_comes_while_it_does(
    fleets: FleetMaker, valkey_url: str
) -> None:
    """Messages come so rarely that it always waits for one when it is told to end."""
    fleet = fleets(valkey_url)
    fleet.connect()
    fleet.activate(QUEUE, "VIP")
    publisher = Publisher(valkey_url, QUEUE, burst=1, pause=0.3)
    consumer = fleet.intake("intake0")
    with sending(publisher):
        for number in range(1, 4):
            before = fleet.count(RECEIVED, source="queue")
            happens(partial(received_more_than, fleet, before))
            consumer.ask_to_stop()
            assert exit_code(consumer) == 0
            consumer = fleet.intake(f"intake{number}")
    happens(lambda: fleet.count(RECEIVED, source="queue") == publisher.sent)


def received_more_than(fleet: Fleet, before: int) -> bool:
    return fleet.count(RECEIVED, source="queue") > before


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A broker that no other test shares, so that it may be frozen."""
    server = EmbeddedValkey(tmp_path)
    server.start()
    yield server
    server.stop()


def test_beat_ends_when_it_is_told_to_while_it_waits_for_a_silent_broker(
    fleets: FleetMaker, own_valkey: EmbeddedValkey
) -> None:
    beat = fleets(own_valkey.url()).beat()

    def published() -> int:
        return read_log(beat.log).count("Sending due task what is due")

    happens(lambda: published() > 0)
    broker = psutil.Process(own_valkey.pid)
    broker.suspend()
    try:
        happens(lambda: time.time() - beat.log.stat().st_mtime > 3 * BEAT_S)
        beat.ask_to_stop()
        assert exit_code(beat) == 0
    finally:
        broker.resume()
