"""The counters of a list as a witness: what Pinterest counted against what we sent. Pure.

Each write adds a batch and its records to the list's counters, repeated records again (API facts,
section 2.4). So the counters should stand at the placeholder of the creation plus every request
that was accepted, and may stand further by requests whose end is unknown. A difference is shown
with its likely cause; it never replaces sending again, because the counters can move for another
reason by just our amount, and they can come late.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple


class Counters(NamedTuple):
    """A list's three counters, or a difference of two such."""

    batches: int
    uploaded: int
    removed: int

    def plus(self, other: Counters, times: int = 1) -> Counters:
        return Counters(*(mine + times * theirs for mine, theirs in zip(self, other, strict=True)))

    def within(self, other: Counters) -> bool:
        return all(mine <= theirs for mine, theirs in zip(self, other, strict=True))


NOTHING = Counters(0, 0, 0)
PLACEHOLDER = Counters(1, 1, 0)
"""What the creation of a list leaves, also where the list was adopted."""
MOST_SUMS = 20_000
"""Sums of unanswered requests that are tried before it is too many to tell."""


class Ledger(NamedTuple):
    """What we know of our own writes to one list, at the time of a look."""

    accepted: Counters
    """The placeholder and every request that was accepted before the look."""
    unknown: tuple[Counters, ...] = ()
    """Requests that ended without an answer, one by one."""
    meanwhile: tuple[Counters, ...] = ()
    """Requests under way during the look: the counters may have them or not."""


class Cause(StrEnum):
    EXACT = "exact"
    NOT_LANDED = "did not land"
    LANDED = "landed"
    BEHIND = "behind"
    OTHER_WRITER = "another writer"
    UNEXPLAINED = "unexplained"


class Finding(NamedTuple):
    """What the counters say, by how much they differ from what was accepted."""

    cause: Cause
    batches: int
    uploaded: int
    removed: int
    unknown: int
    """Requests of ours without an answer."""
    landed: int = 0
    """How many of these the difference accounts for, at least."""

    @property
    def alarming(self) -> bool:
        """True when requests of ours do not explain the counters."""
        return self.cause in (Cause.BEHIND, Cause.OTHER_WRITER, Cause.UNEXPLAINED)

    @property
    def sentence(self) -> str:
        match self.cause:
            case Cause.EXACT:
                return "the counters are exactly what was sent"
            case Cause.NOT_LANDED:
                return (
                    f"the counters are exactly what was accepted: {_requests(self.unknown)} without"
                    " an answer had not landed (each was sent again, or will be)"
                )
            case Cause.LANDED:
                return (
                    f"the counters are ahead by {self._difference}, as if {self.landed:,} of "
                    f"{_requests(self.unknown)} without an answer had landed (harmless: records "
                    "repeat without effect)"
                )
            case Cause.BEHIND:
                return (
                    f"the counters are behind what Pinterest accepted by {self._difference}: they "
                    "may come late; if that lasts, ask Pinterest"
                )
            case Cause.OTHER_WRITER:
                return (
                    f"the counters are not what we sent: ahead by {self._difference}; somebody "
                    "else writes to this list (another tool, or an upload in the Ads Manager)"
                )
            case Cause.UNEXPLAINED:
                return (
                    f"the counters are not what we sent: off by {self._difference}, which no "
                    "request explains"
                )

    @property
    def _difference(self) -> str:
        values = (self.batches, self.uploaded, self.removed)
        signed = len({value > 0 for value in values if value}) > 1
        parts = (
            f"{value:{'+' if signed else ''},} {name}"
            for value, name in zip(
                values if signed else map(abs, values),
                ("batches", "records added", "records removed"),
                strict=True,
            )
            if value
        )
        return ", ".join(parts) or "nothing"

    def as_json(self) -> dict[str, Any]:
        return {**self._asdict(), "cause": self.cause.value}

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> Finding:
        return cls(**{**stored, "cause": Cause(stored["cause"])})


def _requests(count: int) -> str:
    return f"{count:,} request" if count == 1 else f"{count:,} requests"


def effect(purpose: str, records: int) -> Counters:
    """What one accepted request adds to the counters; REMOVE, or one that adds."""
    return Counters(1, 0, records) if purpose == "REMOVE" else Counters(1, records, 0)


def compare(observed: Counters, ledger: Ledger) -> Finding:
    """The likely cause of the difference between the counters and what was accepted."""
    difference = observed.plus(ledger.accepted, -1)
    unknown = len(ledger.unknown)
    landed = _fewest_landed(difference, ledger)
    if landed is not None:
        explained = Cause.NOT_LANDED if unknown else Cause.EXACT
        return Finding(Cause.LANDED if landed else explained, *difference, unknown, landed)
    if difference.within(NOTHING):
        cause = Cause.BEHIND
    elif NOTHING.within(difference) and difference.batches and not _too_many(ledger):
        cause = Cause.OTHER_WRITER
    else:
        cause = Cause.UNEXPLAINED
    return Finding(cause, *difference, unknown)


def _fewest_landed(difference: Counters, ledger: Ledger) -> int | None:
    """How many unanswered requests at least must have landed; None when no choice of them fits."""
    sums = _sums({NOTHING: 0}, ledger.meanwhile, difference, price=0)
    return _sums(sums, ledger.unknown, difference, price=1).get(difference)


def _sums(
    sums: dict[Counters, int], requests: Iterable[Counters], most: Counters, *, price: int
) -> dict[Counters, int]:
    """Sums within ``most`` that some of the requests add up to, with their lowest price.

    Every one of them, or the first ``MOST_SUMS``.
    """
    for each, count in Counter(requests).items():
        found = dict(sums)
        for start, paid in sums.items():
            for times in range(1, count + 1):
                total = start.plus(each, times)
                if not total.within(most):
                    break
                found[total] = min(paid + price * times, found.get(total, paid + price * times))
                if len(found) >= MOST_SUMS:
                    return found
        sums = found
    return sums


def _too_many(ledger: Ledger) -> bool:
    """True when so many requests are open that not every sum of them could be tried."""
    everything = Counters(1 << 62, 1 << 62, 1 << 62)
    requests = ledger.meanwhile + ledger.unknown
    return len(_sums({NOTHING: 0}, requests, everything, price=0)) >= MOST_SUMS
