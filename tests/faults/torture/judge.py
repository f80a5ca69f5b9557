"""The judge: what was violated, from Pinterest's history, the witness and the rows that stand.

Nothing here calls what the product folds, hashes, charges or decides with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.database import transaction
from app.deployment import Deployment
from app.sandbox.pinterest import RequestRecord
from app.sandbox.pinterest_books import Books
from tests.faults.torture.history import CustomerList, attempts_of, match_requests
from tests.faults.torture.people import Diary
from tests.faults.torture.reckoning import Reckoning, reckon
from tests.faults.torture.verdicts import (
    CAP,
    Batches,
    judge_cap,
    judge_ends,
    judge_loss,
    judge_members,
    judge_order,
    judge_pace,
)
from tests.faults.torture.witness import testimony

_LISTS = """
SELECT l.id, a.id AS audience_id, a.upstream_id, l.list_type, l.pinterest_list_id, l.charged,
       c.record_cap, c.removal_reserve
  FROM customer_list l JOIN audience a ON a.id = l.audience_id
  JOIN connection c ON c.id = a.connection_id ORDER BY l.id
"""
_BATCHES = """
SELECT upload_id, customer_list_id, state, sum(record_count)::int AS records FROM batch
 WHERE state <> 'split' GROUP BY upload_id, customer_list_id, state
"""


class Judgement(NamedTuple):
    violations: list[str]
    uploads: int
    attempts: int
    unknown: int
    quarantined: int
    over_cap: int


def judge(
    deployment: Deployment, books: Books, diary: Diary, stalled: Callable[[float], float]
) -> Judgement:
    """Judge a run that has come to rest; ``stalled`` as in ``match_requests``."""
    seen = testimony(deployment)
    lists, batches, audience_ids, token_id = _read(deployment)
    attempts = attempts_of(seen)
    for each in lists:
        mine = [attempt for attempt in attempts.values() if attempt.list_id == each.id]
        each.attempts = sorted(mine, key=lambda attempt: attempt.id)
    reckoning = reckon(diary, seen, audience_ids, token_id)
    requests = books.requests()
    violations = [*diary.complaints, *reckoning.violations]
    violations += match_requests(lists, requests, reckoning, stalled)
    for each in lists:
        violations += _judge_list(each, books, requests, reckoning, batches)
    totals = Counter[str]()
    for (_, _, state), records in batches.items():
        totals[state] += records
    unknown = sum(attempt.state == "unknown" for attempt in attempts.values())
    return Judgement(
        violations,
        len(reckoning.audience_of),
        len(attempts),
        unknown,
        totals["quarantined"],
        totals["over_cap"],
    )


def _read(deployment: Deployment) -> tuple[list[CustomerList], Batches, dict[str, int], int]:
    with transaction(deployment.engine) as tx:
        rows = tx.execute(sa.text(_LISTS)).all()
        batches = Counter(
            {
                (row.upload_id, row.customer_list_id, row.state): row.records
                for row in tx.execute(sa.text(_BATCHES))
            }
        )
        token_id = tx.execute(sa.text("SELECT id FROM api_token")).scalar_one()
    lists = [
        CustomerList(
            row.id,
            row.audience_id,
            row.upstream_id,
            row.list_type,
            row.pinterest_list_id,
            row.charged,
            CAP if row.record_cap is None else row.record_cap,
            row.removal_reserve,
        )
        for row in rows
    ]
    return lists, batches, {row.upstream_id: row.audience_id for row in rows}, token_id


def _judge_list(
    each: CustomerList,
    books: Books,
    requests: list[RequestRecord],
    reckoning: Reckoning,
    batches: Batches,
) -> list[str]:
    mine = [request for request in requests if request.list_id == each.pinterest_id]
    writes = [request for request in mine if request.category == "ads_write"]
    made = [request for request in writes if request.operation == "create_list"]
    if len(made) != 1 or len(_named(books, each)) != 1:
        return [f"{each.name}: {len(_named(books, each))} lists were made"]
    return [
        *judge_cap(each, writes),
        *judge_pace(each),
        *judge_ends(each),
        *judge_order(each),
        *judge_loss(each, reckoning, batches),
        *judge_members(each, books, set(made[0].digests)),
    ]


def _named(books: Books, each: CustomerList) -> list[dict[str, Any]]:
    name = f"Audience {each.upstream_id}-{each.list_type}"
    return [listed for listed in books.lists() if listed["name"] == name]
