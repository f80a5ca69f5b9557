"""A key is replaced in a running installation, the documented way, over either broker."""

from __future__ import annotations

import subprocess
from hashlib import sha1
from typing import Any

import orjson
import pytest

from app.keyring import KeyRing, new_key
from app.sandbox.children import Child
from tests.acceptance.conftest import FleetMaker
from tests.acceptance.fleet import Fleet, happens
from tests.acceptance.publishing import DEAD, publish, ready, take
from workers.intake import DEAD_PURPOSE

NEW = new_key()
NEW_ID = KeyRing.parse(NEW).key_ids[0]
CANARY = "canary.in.a.dead.letter@example.org"


@pytest.fixture
def fleet(broker_url: str, fleets: FleetMaker) -> Fleet:
    """An installation with an active audience, over either broker."""
    made = fleets(broker_url)
    made.connect()
    made.activate("31001", "VIP")
    return made


class Running:
    """The processes of a fleet that hold keys, started again with other ones."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.children: list[Child] = []
        self.starts = 0
        self.people = 0

    def restart(self, keys: str) -> None:
        for child in self.children:
            child.stop()
        self.starts += 1
        self.fleet.environment["PINFOLD_KEYS"] = keys
        self.children = [
            self.fleet.worker(f"worker{self.starts}"),
            self.fleet.intake(f"intake{self.starts}"),
        ]

    def enter(self, count: int) -> None:
        """People enter the audience, by way of the broker; all of them are staged."""
        for number in range(self.people, self.people + count):
            event = {"audience": "31001", "operation": "add", "email": address(number)}
            publish(broker(self.fleet), event)
        self.people += count
        received = "SELECT coalesce(sum(accepted), 0) FROM receipt"
        happens(lambda: self.fleet.count(received) == self.people)


def address(number: int) -> str:
    return f"person{number}@example.org"


def broker(fleet: Fleet) -> str:
    return fleet.environment["PINFOLD_BROKER_URL"]


def listed(fleet: Fleet) -> dict[str, Any]:
    done = fleet.pinfold("keys", "list", "--json")
    assert done.returncode == 0, done.stderr
    return {key["key_id"]: key for key in orjson.loads(done.stdout)}


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    for word in words:
        assert word in line


@pytest.mark.slow
def test_a_key_is_replaced_while_everything_runs(fleet: Fleet) -> None:
    old = fleet.environment["PINFOLD_KEYS"]
    old_id = KeyRing.parse(old).key_ids[0]
    running = Running(fleet)
    running.restart(old)  # beat does not run yet: what is staged waits
    running.enter(5)
    publish(broker(fleet), f'{{"email": "{CANARY}", broken'.encode())
    happens(lambda: ready(broker(fleet), DEAD) == 1)
    fleet.environment["PINFOLD_KEYS"] = f"{NEW},{old}"
    assert_refused(fleet.pinfold("keys", "rotate"), NEW_ID, "worker worker1@fleet", "intake ")

    running.restart(f"{old},{NEW}")
    running.enter(5)
    running.restart(f"{NEW},{old}")
    running.enter(5)
    assert_refused(
        fleet.pinfold("keys", "drop", old_id), f"key {old_id} is still needed: 1 tokens, ", "rotate"
    )
    rotated = fleet.pinfold("keys", "rotate")
    assert rotated.returncode == 0, rotated.stdout + rotated.stderr
    assert "1 dead letters in the broker were sealed anew" in rotated.stdout
    keys = listed(fleet)
    assert not sum(keys[old_id]["needed"].values())
    assert len(keys[NEW_ID]["sealing"]) == 2
    dropped = fleet.pinfold("keys", "drop", old_id)
    assert dropped.returncode == 0, dropped.stderr

    running.restart(NEW)
    running.enter(5)
    fleet.beat()
    assert fleet.drained()
    assert fleet.unbalanced() == []
    people = {sha1(address(number).encode()).hexdigest() for number in range(20)}
    assert people <= fleet.members("VIP-EMAIL")
    (letter,) = take(broker(fleet))
    assert letter.headers["reason"] == "message: is not JSON"
    assert CANARY.encode() in KeyRing.parse(NEW).open(bytes(letter.body), DEAD_PURPOSE)
    fleet.environment["PINFOLD_KEYS"] = f"{old},{NEW}"
    assert_refused(fleet.pinfold("keys", "rotate"), old_id, "was dropped and never seals again")


def test_processes_that_ended_hold_no_key(fleet: Fleet) -> None:
    running = Running(fleet)
    running.restart(fleet.environment["PINFOLD_KEYS"])
    happens(lambda: fleet.count("SELECT count(*) FROM process") == 2)
    for child in running.children:
        child.stop()
    assert fleet.count("SELECT count(*) FROM process") == 0


def test_dead_letters_that_cannot_be_opened_stay_and_keep_their_key(fleet: Fleet) -> None:
    old = fleet.environment["PINFOLD_KEYS"]
    old_id = KeyRing.parse(old).key_ids[0]
    consumer = fleet.intake()
    for number in range(3):
        publish(broker(fleet), f"no event {number}".encode())
    happens(lambda: ready(broker(fleet), DEAD) == 3)
    consumer.stop()
    fleet.environment["PINFOLD_KEYS"] = f"{NEW},{old}"
    assert fleet.pinfold("keys", "rotate").returncode == 0
    assert ready(broker(fleet), DEAD) == 3

    fleet.environment["PINFOLD_KEYS"] = f"{old},{NEW}"  # back again, for one letter
    consumer = fleet.intake("another")
    publish(broker(fleet), b"no event either")
    happens(lambda: ready(broker(fleet), DEAD) == 4)
    consumer.stop()
    fleet.environment["PINFOLD_KEYS"] = NEW  # a ring that could not open it
    done = fleet.pinfold("keys", "drop", old_id)
    assert_refused(done, f"key {old_id} is still needed: 1 dead letters", "--without-broker")
    assert ready(broker(fleet), DEAD) == 4
    assert fleet.pinfold("keys", "drop", old_id, "--without-broker").returncode == 0
    reasons = {letter.headers["reason"] for letter in take(broker(fleet))}
    assert reasons == {"message: is not JSON"}


def test_a_broker_that_is_away_is_said_and_keeps_a_key_from_being_dropped(fleet: Fleet) -> None:
    old = fleet.environment["PINFOLD_KEYS"]
    old_id = KeyRing.parse(old).key_ids[0]
    nowhere = (
        "amqp://127.0.0.1:1//" if broker(fleet).startswith("amqp") else "redis://127.0.0.1:1/0"
    )
    fleet.environment |= {"PINFOLD_KEYS": f"{NEW},{old}", "PINFOLD_BROKER_URL": nowhere}
    rotated = fleet.pinfold("keys", "rotate")
    assert rotated.returncode == 1
    assert "dead letters were not reached" in rotated.stdout
    assert_refused(fleet.pinfold("keys", "drop", old_id), "dead letters cannot be reached")
    assert "newest" in fleet.pinfold("keys", "list").stdout
