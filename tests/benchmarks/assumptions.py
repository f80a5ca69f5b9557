"""What the fleet table takes for granted: of the load, and of what one of each can do."""

from __future__ import annotations

from tests.benchmarks.costs import Limits
from tests.benchmarks.fleet import REQUEST_SIZES, UTILISATION, WRITES_PER_MINUTE
from tests.benchmarks.loads import (
    CALL_EVENTS,
    CHUNK_EVENTS,
    FLUSH_MESSAGES,
    FLUSHES_A_DAY_BY_AGE,
    FOLDED,
    GROUPS,
    PEAK,
)

Assumption = tuple[str, str, str]
"""What, how much, and why."""


def assumptions(limits: Limits) -> list[Assumption]:
    return [*_of_the_load(), *_of_one(limits)]


def _of_the_load() -> list[Assumption]:
    return [
        (
            "peak of a day, against its mean",
            f"{PEAK:g} times",
            "people are awake at the same hours, and campaigns begin on the hour",
        ),
        (
            "identities that fold and are never sent",
            f"{FOLDED:.0%}",
            "somebody who enters and leaves within 3 hours is sent once, and an upstream that "
            "exports whole segments repeats most people every day",
        ),
        (
            "events of one audience in one call, a chunk",
            f"{CHUNK_EVENTS}",
            "a call of an export holds hundreds; webhooks hold one each, and then intake and the "
            "log of Postgres cost several times as much. Both are counted: that small chunks are "
            "joined while they wait, and that the flush finds them as they came",
        ),
        ("events of one call, which is a commit", f"{CALL_EVENTS}", "likewise"),
        ("messages that make an audience due", f"{FLUSH_MESSAGES:,}", "`PINFOLD_FLUSH_MESSAGES`"),
        (
            "uploads of an audience a day, at least",
            f"{FLUSHES_A_DAY_BY_AGE}",
            "every 3 hours, `PINFOLD_FLUSH_AGE`, if anything waits; no more at the peak",
        ),
        (
            "parts of an upload",
            "; ".join(f"{name} {share:.0%}" for name, share in GROUPS.items()),
            "they cannot share a request; 60 % addresses, 80 % ADD",
        ),
        (
            "records a request",
            " or ".join(f"{size:,}" for size in REQUEST_SIZES),
            "known to work, and what nobody has tried on the real Pinterest",
        ),
        (
            "writes a minute and connection",
            f"{WRITES_PER_MINUTE}",
            "Pinterest's limit for one person and app, of which nine tenths are used; more need "
            "more connections",
        ),
    ]


def _of_one(limits: Limits) -> list[Assumption]:
    return [
        (
            "share of every core that is used",
            f"{UTILISATION:.0%}",
            "above half, queues grow long at each burst, and no machine is left to lose",
        ),
        (
            "cores of any other machine",
            f"{limits.machine_cores:g}",
            "a plain cloud machine; one that stands by for each that may fail is not counted",
        ),
        (
            "cores of one Postgres",
            f"{limits.postgres_cores:g}",
            "one plain cloud machine; this and what follows is rounded, and was not measured here",
        ),
        (
            "log of one Postgres",
            f"{limits.postgres_wal_mb_s:g} MB/s",
            "a network volume with 250 MB/s also writes pages back, and a replica reads along",
        ),
        (
            "commits of one Postgres",
            f"{limits.postgres_commits_s:,.0f}/s",
            "with a flush of 1 to 2 ms, some ten commits in each",
        ),
        (
            "messages of one broker",
            f"{limits.broker_messages_s:,.0f}/s",
            "RabbitMQ's quorum queues; Valkey does several times as many",
        ),
        (
            "the way to Pinterest",
            f"{limits.network_mbit_s:,.0f} Mbit/s",
            "half of 10 Gbit/s; what comes in, and goes to Postgres and back, is not counted",
        ),
    ]
