"""Sample traffic for the demo, and a plain reckoning of where everybody must end up.

The reckoning knows each person from the moment it invents them: it never looks at the product's
parsing, folding or hashing, only at what it made up, so that the two can disagree.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from typing import Any

AUDIENCES = (
    ("Spring sale", "31001", 130_000),
    ("Lapsed buyers", "31002", 110_000),
    ("VIP", "31003", 15_000),
)
"""Name, upstream id and messages of each audience of the demo."""
CALL = 2_000
BEGIN = datetime.now(UTC) - timedelta(hours=3)
STEP = timedelta(milliseconds=50)
JUNK = (
    "n/a",
    "ana.ruiz@",
    "@example.org",
    "two words@example.org",
    "a@example.org,b@example.org",
    "00000000-0000-0000-0000-000000000000",
    "3F1C9A52-7D40-4B8E-9A61",
    "null\x00byte@example.org",
)
STREETS = ("ana.ruiz", "li", "noor", "jonas.b", "mia+shop", "k.o'neil", "søren", "t_h")
HOSTS = ("example.org", "example.net", "mail.example.com", "post.example.co.uk")

Place = tuple[str, str]
"""An audience's upstream id, and EMAIL or MAID."""


@dataclass
class Reckoning:
    """Who must be a member in the end, and how much junk was sent."""

    last_word: dict[Place, dict[str, tuple[int, bool]]] = field(default_factory=dict)
    messages: int = 0
    identities: int = 0
    junk: int = 0

    def note(self, place: Place, digest: str, moment: int, entered: bool) -> None:
        words = self.last_word.setdefault(place, {})
        before = words.get(digest)
        if before is None or moment >= before[0]:
            words[digest] = (moment, entered)

    def members(self, place: Place) -> set[str]:
        """The hex digests that must be members of a list."""
        words = self.last_word.get(place, {})
        return {digest for digest, (_, entered) in words.items() if entered}


def sample_calls(
    audience: str, messages: int, seed: int, reckoning: Reckoning
) -> Iterator[list[dict[str, Any]]]:
    """Calls of some 2,000 messages in our own form; ``reckoning`` is kept as they are made.

    Times rise from call to call; within a call they are shuffled, so that the time decides and
    not the order of arrival. One message in eight repeats a person seen before.
    """
    chance = random.Random(seed)
    people: list[_Person] = []
    clock = 0
    for start in range(0, messages, CALL):
        count = min(CALL, messages - start)
        moments = [clock + place for place in range(count)]
        clock += count
        chance.shuffle(moments)
        yield [_message(audience, people, moment, chance, reckoning) for moment in moments]


@dataclass(frozen=True)
class _Person:
    address: str | None
    idfa: str | None
    gaid: str | None


def _message(
    audience: str, people: list[_Person], moment: int, chance: random.Random, reckoning: Reckoning
) -> dict[str, Any]:
    known = people and chance.random() < 0.125
    person = chance.choice(people) if known else _somebody(chance, len(people))
    if not known:
        people.append(person)
    entered = chance.random() < (0.55 if known else 0.93)
    message: dict[str, Any] = {
        "audience": audience,
        "operation": "add" if entered else "remove",
        "occurred_at": (BEGIN + moment * STEP).isoformat(),
    }
    for kind, list_type in (("email", "EMAIL"), ("idfa", "MAID"), ("gaid", "MAID")):
        value = person.address if kind == "email" else getattr(person, kind)
        if value is not None:
            sent, digest = _written(value, kind, chance)
            message[kind] = sent
            reckoning.note((audience, list_type), digest, moment, entered)
            reckoning.identities += 1
    if chance.random() < 0.02:
        _spoil(message, chance, reckoning)
    reckoning.messages += 1
    return message


def _somebody(chance: random.Random, number: int) -> _Person:
    address = f"{chance.choice(STREETS)}.{number}.{chance.randrange(10**5)}@{chance.choice(HOSTS)}"
    device = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    shape = chance.random()
    if shape < 0.55:
        return _Person(address, None, None)
    if shape < 0.70:
        return _Person(None, device.upper(), None)
    if shape < 0.85:
        return _Person(None, None, device)
    return _Person(address, device.upper(), None)


def _written(value: str, kind: str, chance: random.Random) -> tuple[str, str]:
    """How an upstream writes the value down, and the digest Pinterest must see for it."""
    plain = value.lower().encode()
    style = chance.random()
    digest = sha1(plain).hexdigest()  # noqa: S324 Pinterest's choice
    if style < 0.06:
        return digest.upper(), digest
    if kind == "email" and style < 0.60:
        spelling = value.title() if style < 0.2 else value
        return (f"  {spelling} " if style < 0.1 else spelling), digest
    return value, digest


def _spoil(message: dict[str, Any], chance: random.Random, reckoning: Reckoning) -> None:
    """Put a junk value beside a good one: it must cost nobody else anything."""
    kind = chance.choice(("email", "idfa", "gaid"))
    junk = chance.choice(JUNK)
    present = message.get(kind)
    message[kind] = [junk] if present is None else [present, junk]
    reckoning.junk += 1
