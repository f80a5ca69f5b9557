"""What ought to become of every identity that was accepted: the model's own reckoning.

It shares nothing with the product: it hashes, folds and counts by itself, the plain way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import md5, sha1, sha256
from typing import NamedTuple

from app.events import Identity, Kind, MembershipEvent, Operation
from tests.workshop import address, device

LISTS = ("EMAIL", "MAID")
EMAILS, DEVICES = 5, 3
FUTURE_US = 4_102_444_800_000_000
"""The year 2100: counts as the time of arrival."""


class Person(NamedTuple):
    """An identity as it may be sent, and who Pinterest should take it for."""

    identity: Identity
    list_type: str
    digest: str
    other_digest: bool = False
    """It arrives as a digest that is not SHA-1."""


def _emails(number: int) -> list[Person]:
    plain = address(number)
    sha1_of = sha1(plain.encode()).hexdigest()
    sha256_of = sha256(plain.encode()).hexdigest()
    spellings = (plain, f" {plain.upper()} ", sha1_of, sha1_of.upper())
    return [
        *(Person(Identity(Kind.EMAIL, text), "EMAIL", sha1_of) for text in spellings),
        Person(Identity(Kind.EMAIL, sha256_of), "EMAIL", sha256_of, other_digest=True),
    ]


def _devices(number: int) -> list[Person]:
    plain = device(number)
    sha1_of = sha1(plain.encode()).hexdigest()
    md5_of = md5(plain.encode()).hexdigest()
    return [
        Person(Identity(Kind.IDFA, plain), "MAID", sha1_of),
        Person(Identity(Kind.GAID, plain.upper()), "MAID", sha1_of),
        Person(Identity(Kind.GAID, md5_of), "MAID", md5_of, other_digest=True),
    ]


PEOPLE = {
    **{("EMAIL", number): _emails(number) for number in range(EMAILS)},
    **{("MAID", number): _devices(number) for number in range(DEVICES)},
}
POISON = frozenset({PEOPLE["EMAIL", 0][0].digest, PEOPLE["MAID", 0][0].digest})
"""Digests that Pinterest refuses, whatever they come with."""


@dataclass(frozen=True)
class Said:
    """One event: what was said of one person, or of several identities of one."""

    audience: int
    operation: Operation
    people: tuple[Person, ...]
    occurred_at_us: int | None

    def event(self, upstream_id: str) -> MembershipEvent:
        identities = tuple(person.identity for person in self.people)
        return MembershipEvent(upstream_id, self.operation, identities, self.occurred_at_us)


class Word(NamedTuple):
    """What one event said of one identity. The greater moment decides, then the later word."""

    moment: tuple[int, int]
    person: Person
    operation: str


class Switches(NamedTuple):
    """What decided, when a cut began, what it forwards."""

    active: bool
    email: bool
    device_id: bool
    other_digests: bool

    def forward(self, person: Person) -> bool:
        kind = self.email if person.list_type == "EMAIL" else self.device_id
        return self.active and kind and (self.other_digests or not person.other_digest)


@dataclass
class ReckonedUpload:
    audience_id: int
    last_words: dict[str, dict[str, str]]
    """By list type, the operation that decided for each digest."""
    read: Counter[str]
    not_forwarded: Counter[str]
    reached: set[str] = field(default_factory=set)
    """The digests that Pinterest has applied, in whatever request of this upload."""

    def digests(self, list_type: str, operation: str) -> set[str]:
        words = self.last_words[list_type]
        return {digest for digest, decided in words.items() if decided == operation}


def words_of(events: Iterable[Said], arrival: int) -> list[Word]:
    """What a call says. Events of no time, or of a future one, happened when they arrived."""
    return [
        Word(_moment(said.occurred_at_us, arrival), person, said.operation.name)
        for said in events
        for person in said.people
    ]


def _moment(occurred_at_us: int | None, arrival: int) -> tuple[int, int]:
    if occurred_at_us is None or occurred_at_us >= FUTURE_US:
        return 1, arrival
    return 0, occurred_at_us


def reckon_upload(
    audience_id: int, chunks: Iterable[list[Word]], switches: Switches
) -> ReckonedUpload:
    """What one cut makes of some chunks, given in order of arrival."""
    deciding: dict[tuple[str, str], Word] = {}
    read: Counter[str] = Counter()
    not_forwarded: Counter[str] = Counter()
    for word in (word for chunk in chunks for word in chunk):
        person = word.person
        read[person.list_type] += 1
        if not switches.forward(person):
            not_forwarded[person.list_type] += 1
            continue
        said_before = deciding.get((person.list_type, person.digest))
        if said_before is None or said_before.moment <= word.moment:
            deciding[person.list_type, person.digest] = word
    last_words: dict[str, dict[str, str]] = {list_type: {} for list_type in LISTS}
    for (list_type, digest), word in deciding.items():
        last_words[list_type][digest] = word.operation
    return ReckonedUpload(audience_id, last_words, read, not_forwarded)


def reckon_members(
    uploads: Mapping[int, ReckonedUpload], list_type: str, reached: set[int]
) -> set[str]:
    """Who is a member of a list that some uploads reached: of each digest the latest decides."""
    decided: dict[str, str] = {}
    for number in sorted(reached):
        words, arrived = uploads[number].last_words[list_type], uploads[number].reached
        decided |= {digest: word for digest, word in words.items() if digest in arrived}
    return {digest for digest, operation in decided.items() if operation == "ADD"}
