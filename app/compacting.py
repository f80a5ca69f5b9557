"""Compacting: join small chunks of an audience, so that a long backlog stays cheap to look at.

An upstream that sends single events makes a chunk of each, and every due check reads an index entry
a chunk. Beat therefore has neighbours joined, small ones with small ones: a chunk is joined only
into one that is several times as large, so an event is packed anew four times at most, and what
stays is one chunk for some 4,000 events and a few dozen smaller ones an audience.

    find the crowded -> lease -> gate -> fix the runs -> open, join, seal -> commit

Order stands: runs are neighbours in the order of arrival, older than the newest that stood while no
intake was half committed, and the joined chunk has the id of its oldest. The commit names the
leases and deletes exactly what was read (``app.joining``), so a cut and this never both take a
chunk. A crash before it changes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import groupby
from random import shuffle
from typing import NamedTuple

import sqlalchemy as sa

from app.copying import array_text
from app.database import transaction
from app.deployment import Deployment
from app.errors import ConfigError, LeaseLost, PinfoldError, Unavailable, kind_and_place
from app.folding import ChunkSize
from app.gate import GATES, GateBusy, close_gate
from app.joining import join_runs, read_by_index, replace_runs
from app.lease import NOW, Claim, has_passed, seconds
from app.runs import LARGE, class_ends, runs
from app.sweeps import may_begin, note_sweep
from app.tables import audience, staged_chunk

log = logging.getLogger(__name__)
SWEEP = "compacting"
COMPACTING_LOCK = 0x7069_6E63
REST = timedelta(seconds=30)
"""Between the beginnings of two passes; one that was rung for sooner does nothing."""
BUDGET_S = 50.0
"""A pass ends then: beat rings for the next one every minute."""
STEP_MESSAGES = 50_000
STEP_AUDIENCES = 200
"""Joined in one transaction, about."""
MOST_CHUNKS = 10_000
"""Of one audience in one transaction; the next pass goes on behind them."""

_SIZES = """
SELECT chunk.*
  FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS span(audience_id, oldest, newest)
 CROSS JOIN LATERAL (
    SELECT audience_id, id, message_count, email_count + maid_count FROM staged_chunk
     WHERE staged_chunk.audience_id = span.audience_id AND id BETWEEN span.oldest AND span.newest
     ORDER BY id LIMIT %s
 ) AS chunk ORDER BY audience_id, id
"""
_NEWEST = """
SELECT audience_id, newest.id FROM unnest(%s::bigint[]) AS span(audience_id)
 CROSS JOIN LATERAL (
    SELECT id FROM staged_chunk WHERE staged_chunk.audience_id = span.audience_id
     ORDER BY id DESC LIMIT 1
 ) AS newest
"""


class Span(NamedTuple):
    """Where an audience has small chunks, and how many messages are in them."""

    audience_id: int
    oldest: int
    messages: int


class StepsFailed(PinfoldError):
    """Steps of a pass failed; the log says of each why, and the others were taken."""


def compact_once(deployment: Deployment, stopping: Callable[[], bool] = lambda: False) -> int:
    """Join small chunks wherever many stand; returns how many chunks there are less.

    Audiences that somebody else is at are passed over until the next time, and those whose last
    flush failed. A body that cannot be opened is never joined with others.

    Raises Unavailable when Postgres goes away, ConfigError when the keys do not fit the database,
    and at the end StepsFailed where a step failed: it holds up no other one.
    """
    if not _begin(deployment):
        return 0
    ends_at = time.monotonic() + BUDGET_S
    taken: list[int | None] = []
    steps = [*_steps(_crowded(deployment))]
    shuffle(steps)  # one that takes all the time does so in some passes only
    for spans in steps:
        if stopping() or time.monotonic() > ends_at:
            break
        taken.append(_take(deployment, spans))
    if failed := taken.count(None):
        raise StepsFailed(f"{failed} of {len(taken)} steps of joining failed: the log says why")
    return sum(fewer or 0 for fewer in taken)


def _begin(deployment: Deployment) -> bool:
    with transaction(deployment.engine) as tx:
        if not may_begin(tx, SWEEP, COMPACTING_LOCK, REST):
            return False
        note_sweep(tx, SWEEP, 0)
    return True


def _crowded(deployment: Deployment) -> list[Span]:
    """The audiences that may have something to join, as far as the index tells it by itself."""
    messages = staged_chunk.c.message_count
    of_all = sa.func.sum(messages)
    query = (
        sa.select(staged_chunk.c.audience_id, sa.func.min(staged_chunk.c.id), of_all)
        .where(messages < LARGE)
        .group_by(staged_chunk.c.audience_id)
        .having(sa.or_(*(of_all.filter(messages < end) >= end for end in class_ends())))
    )
    with transaction(deployment.engine) as tx:
        return [Span(*map(int, row)) for row in tx.execute(query)]


def _steps(spans: list[Span]) -> Iterator[list[Span]]:
    """Audiences that share a gate, as many as fit into one transaction."""

    def gate(span: Span) -> int:
        return span.audience_id % GATES

    for _, sharing in groupby(sorted(spans, key=gate), gate):
        step: list[Span] = []
        for span in sharing:
            step.append(span)
            if sum(s.messages for s in step) >= STEP_MESSAGES or len(step) == STEP_AUDIENCES:
                yield step
                step = []
        if step:
            yield step


def _take(deployment: Deployment, spans: list[Span]) -> int | None:
    """How many chunks there are less, or None when the step failed, which the log then says."""
    try:
        return _compact(deployment, spans)
    except (GateBusy, LeaseLost):
        return 0
    except (Unavailable, ConfigError):
        raise
    except Exception as problem:  # noqa: BLE001 it fails in every pass, and the others must not
        log.warning(
            "chunks of %s audiences, the first %s, are not joined: %s",
            *(len(spans), spans[0].audience_id, kind_and_place(problem)),
        )
        return None


def _compact(deployment: Deployment, spans: list[Span]) -> int:
    newest = dict.fromkeys((span.audience_id for span in spans), (1 << 63) - 1)
    promising = {audience_id for audience_id, _ in _runs_of(deployment, spans, newest)}
    claims = _claim(deployment, sorted(promising))
    if not claims:
        return 0
    try:
        wanted = _runs_of(deployment, spans, _fix_newest(deployment, claims))
        joined = join_runs(deployment, wanted)
        with transaction(deployment.engine) as tx:
            if _release(tx, claims) != len(claims):
                raise LeaseLost("an audience whose chunks are being joined was taken over")
            if joined:
                replace_runs(tx, joined)
    except Exception:
        with suppress(Unavailable), transaction(deployment.engine) as tx:
            _release(tx, claims)
        raise
    return sum(len(each.ids) - 1 for each in joined)


def _claim(deployment: Deployment, audience_ids: list[int]) -> list[Claim]:
    """The leases of those audiences that are free and well; nobody is waited for."""
    s = deployment.settings
    free = (
        sa.select(audience.c.id)
        .where(
            audience.c.id.in_(audience_ids),
            audience.c.state != "deactivated",
            audience.c.flush_failures == 0,
            has_passed(audience.c.lease_until, s.lease),
        )
        .with_for_update(skip_locked=True)
    )
    taking = (
        sa.update(audience)
        .where(audience.c.id.in_(free))
        .values(epoch=audience.c.epoch + 1, lease_until=NOW + seconds(s.lease))
        .returning(audience.c.id, audience.c.epoch)
    )
    with transaction(deployment.engine) as tx:
        return [Claim(*row) for row in tx.execute(taking)]


def _fix_newest(deployment: Deployment, claims: list[Claim]) -> dict[int, int]:
    """The newest chunk of each audience while no intake of theirs is half committed.

    One gate is theirs. It is shut for this instant only: what is older can be read at leisure.
    """
    ids = [claim.id for claim in claims]
    with transaction(deployment.engine) as tx:
        close_gate(tx, ids[0])
        return {row[0]: row[1] for row in tx.exec_driver_sql(_NEWEST, (array_text(ids),))}


def _runs_of(
    deployment: Deployment, spans: list[Span], newest: dict[int, int]
) -> list[tuple[int, list[ChunkSize]]]:
    """What is to be joined among the chunks up to the newest, of the audiences that have one."""
    mine = [span for span in spans if span.audience_id in newest]
    columns = (
        array_text(span.audience_id for span in mine),
        array_text(span.oldest for span in mine),
        array_text(newest[span.audience_id] for span in mine),
    )
    with transaction(deployment.engine) as tx:
        read_by_index(tx)
        rows = tx.exec_driver_sql(_SIZES, (*columns, MOST_CHUNKS)).all()
    return [
        (audience_id, run)
        for audience_id, chunks in groupby(rows, lambda row: row[0])
        for run in runs([ChunkSize(*row[1:]) for row in chunks])
    ]


def _release(tx: sa.Connection, claims: list[Claim]) -> int:
    """Give back the leases that are still ours, in order; returns how many that are."""
    mine = sa.tuple_(audience.c.id, audience.c.epoch).in_([tuple(claim) for claim in claims])
    locked = sa.select(audience.c.id).where(mine).order_by(audience.c.id).with_for_update()
    ids = list(tx.execute(locked).scalars())
    tx.execute(sa.update(audience).where(audience.c.id.in_(ids)).values(lease_until=None))
    return len(ids)
