"""Surveying: ask Pinterest what each list has had, and which lists no row here knows.

The listing of an ad account shows the counters of 250 lists a request, so that thousands of lists
are asked about in a minute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.connections import list_connections, open_client
from app.database import transaction
from app.deployment import Deployment
from app.errors import PinfoldError, Unavailable
from app.lists import GONE
from app.pinterest.client import PinterestClient
from app.pinterest.outcomes import Action, Answer, judge
from app.pinterest.replies import list_values
from app.reconciling import counted, missing
from app.renewing import Renewal, renew_refused
from app.tables import audience, customer_list

CLOCK_TOLERANCE = timedelta(minutes=10)
"""How far Pinterest's clock may be from the database's."""
ENDINGS = ("-EMAIL", "-MAID")


@dataclass(frozen=True)
class SurveyedList:
    list_id: int
    name: str
    charged: int
    counted: int | None
    """Records by Pinterest's counters; None where it did not say."""
    least: int | None
    """What must be charged at least; None where nobody said."""
    seen: dict[str, Any] | None
    """The columns of an observation."""
    gone: bool
    trouble: str
    """Why there are no counters."""

    @property
    def missing(self) -> int:
        return 0 if self.least is None else missing(self.charged, self.least)


class Forgotten(NamedTuple):
    """A list made since the backup and named as ours are, that no row here knows."""

    pinterest_list_id: str
    name: str
    created_at: datetime
    records: int | None


@dataclass(frozen=True)
class Survey:
    """One connection: what Pinterest says of its lists."""

    name: str
    trouble: str
    """Why Pinterest could not be asked; empty when it could."""
    lists: list[SurveyedList]
    forgotten: list[Forgotten]


class Question(NamedTuple):
    """What lists are to be charged with, beyond what Pinterest counted."""

    backup_taken_at: datetime
    allowance: int | None
    charged: Mapping[str, int]


@dataclass
class _Shown:
    """What Pinterest showed of one account; with a trouble, that is nothing."""

    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    absent: dict[str, Answer] = field(default_factory=dict)
    trouble: str = ""
    login_refused: bool = False


def survey_connections(deployment: Deployment, question: Question) -> list[Survey]:
    """Every connection that stands; one that cannot be asked keeps none of the others."""
    rows = list_connections(deployment)
    return [_survey(deployment, row, question) for row in rows]


def _survey(deployment: Deployment, row: sa.Row[Any], question: Question) -> Survey:
    known = _known(deployment, row.id)
    shown = _ask(deployment, row, [each.pinterest_list_id for each in known])
    allowance = question.allowance
    if allowance is None:
        allowance = row.records_per_request or deployment.settings.records_per_request
    lists = [_reckoned(each, shown, allowance, question.charged.get(each.name)) for each in known]
    found = _forgotten(shown.items, _all_known(deployment), question.backup_taken_at)
    return Survey(row.name, shown.trouble, lists, sorted(found))


def _known(deployment: Deployment, connection_id: int) -> list[sa.Row[Any]]:
    query = (
        sa.select(customer_list)
        .join(audience, audience.c.id == customer_list.c.audience_id)
        .where(
            audience.c.connection_id == connection_id,
            customer_list.c.pinterest_list_id.is_not(None),
        )
        .order_by(customer_list.c.name, customer_list.c.generation)
    )
    with transaction(deployment.engine) as tx:
        return list(tx.execute(query))


def _all_known(deployment: Deployment) -> set[str | None]:
    """The ids in our rows; two connections may share an ad account."""
    with transaction(deployment.engine) as tx:
        return set(tx.execute(sa.select(customer_list.c.pinterest_list_id)).scalars())


def _ask(deployment: Deployment, row: sa.Row[Any], list_ids: list[str]) -> _Shown:
    """All that Pinterest shows of an account; a login that it refuses is renewed once."""
    shown, version = _ask_once(deployment, row, list_ids)
    if shown.login_refused:
        renewal = renew_refused(deployment, row.id, version)
        if renewal is Renewal.RENEWED:
            shown, _ = _ask_once(deployment, row, list_ids)
    return shown


def _ask_once(deployment: Deployment, row: sa.Row[Any], list_ids: list[str]) -> tuple[_Shown, int]:
    """What Pinterest shows to the present login, and the version of that."""
    try:
        with transaction(deployment.engine) as tx:
            client = open_client(deployment, tx, row)
    except Unavailable:
        raise
    except PinfoldError as problem:
        return _Shown(trouble=str(problem)), 0
    with closing(client):
        return _look(client, list_ids), client.login_version


def _look(client: PinterestClient, list_ids: list[str]) -> _Shown:
    shown = _Shown()
    for answer in client.list_pages():
        items = answer.body.get("items")
        if not answer.ok or not isinstance(items, list):
            return _refused(answer)
        found = (item for item in items if isinstance(item, dict))
        shown.items |= {str(item.get("id")): item for item in found}
    for list_id in list_ids:
        if list_id not in shown.items:
            shown.absent[list_id] = client.get_list(list_id)
    return shown


def _refused(answer: Answer) -> _Shown:
    if answer.ok:
        return _Shown(trouble="Pinterest's listing could not be read")
    verdict = judge(answer)
    status = "no answer" if answer.status is None else f"HTTP {answer.status}"
    return _Shown(
        trouble=f"{verdict.reason} ({status}: {answer.message})",
        login_refused=verdict.action is Action.RENEW_LOGIN,
    )


def _reckoned(row: sa.Row[Any], shown: _Shown, allowance: int, told: int | None) -> SurveyedList:
    """What one list must be charged: as counted and a little more, or as somebody told us."""
    item, gone, trouble = _said_of(row.pinterest_list_id, shown)
    seen = None if item is None else list_values(item)
    records = None if seen is None else counted(seen)
    if records is None:
        seen, trouble = None, trouble or "Pinterest showed no counters"
    reckoned = [] if records is None else [records + allowance]
    reckoned += [] if told is None else [told]
    least = max(reckoned, default=None)
    return SurveyedList(row.id, row.name, row.charged, records, least, seen, gone, trouble)


def _said_of(list_id: str, shown: _Shown) -> tuple[dict[str, Any] | None, bool, str]:
    """What Pinterest says of a list, whether it is gone, and why nothing is known of it."""
    if shown.trouble or list_id in shown.items:
        return shown.items.get(list_id), False, shown.trouble
    answer = shown.absent[list_id]
    if answer.ok:
        return dict(answer.body), False, ""
    verdict = judge(answer)
    return None, answer.own_words and verdict.reason == GONE, answer.message


def _forgotten(
    items: Mapping[str, dict[str, Any]], mine: set[str | None], backup_taken_at: datetime
) -> Iterator[Forgotten]:
    oldest = (backup_taken_at - CLOCK_TOLERANCE).timestamp()
    for list_id, item in items.items():
        name, created = str(item.get("name")), item.get("created_time")
        if list_id in mine or not name.endswith(ENDINGS) or not isinstance(created, int | float):
            continue
        if created >= oldest:
            made_at = datetime.fromtimestamp(created, UTC)
            yield Forgotten(list_id, name, made_at, counted(list_values(item)))
