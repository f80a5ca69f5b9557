"""End to end in one process: events in, until Pinterest has accepted everything.

Pinterest is the simulator in a process of its own, without its rate limit and only counting, and
takes 50,000 records a request: the same for all. The lists stand beforehand.
"""

from __future__ import annotations

from time import perf_counter

import requests
from sqlalchemy.orm import Session

from app.delivery import deliver_once
from app.deployment import Deployment
from app.due import check_due_once
from app.flush import flush_once
from app.sandbox.pinterest import DEFAULT_AD_ACCOUNT, DEFAULT_TOKEN
from app.staging import Intake, stage
from tests.benchmarks import harness
from tests.benchmarks.events import Sample
from tests.benchmarks.harness import Must, Pace, Row, Sizes, at_least
from tests.benchmarks.installation import (
    Ground,
    Place,
    counting_pinterest,
    fill_audiences,
    fill_lists,
    plain_engine,
)
from tests.benchmarks.textbook import (
    Delete,
    PinterestByTheBook,
    add_objects,
    delete_in_bulk,
    delete_one_by_one,
    send_what_is_due,
)
from tests.benchmarks.tidy import PinterestInASession, flush_what_is_due, insert_rows

AUDIENCES = 10
PER_CALL = 1_000
FEWER = 10
"""A tenth of the textbook's events is deleted one by one: the slowest of all, and not judged."""
SETTINGS = {
    "flush_messages": 1,  # what waits is due, so that a round ends with nothing left
    "records_per_request": 50_000,
    "writes_per_minute": 1_000_000_000,
    "check_interval": 0.000_001,  # each check may follow the one before at once
}


def deliver_everything(deployment: Deployment) -> None:
    """What beat and the workers do, in one process and without a broker, until nothing is due."""
    while True:
        due = check_due_once(deployment)
        if due is None or not (due.audience_ids or due.list_ids):
            return
        for list_id in due.list_ids:
            deliver_once(deployment, list_id)
        for audience_id in due.audience_ids:
            flushed = flush_once(deployment, audience_id)
            for list_id in flushed.list_ids if flushed else ():
                deliver_once(deployment, list_id)


class EndToEnd:
    """All versions against one Pinterest; each has lists of its own there.

    ``shared``: how many audiences the yardsticks have as well; by default all.
    """

    def __init__(self, place: Place, sample: Sample, shared: int | None = None) -> None:
        self.place, self.sample = place, sample
        self.audience_ids = fill_audiences(place, sample.upstream_ids)
        fill_lists(place)
        self._textbook = plain_engine(place)
        account = (place.deployment.settings.pinterest_url, DEFAULT_AD_ACCOUNT, DEFAULT_TOKEN)
        self.by_the_book = PinterestByTheBook(*account)
        self.in_a_session = PinterestInASession(*account)
        self.yardsticks = (self.by_the_book, self.in_a_session)
        for pinterest in self.yardsticks:
            for audience_id in [*self.audience_ids.values()][:shared]:
                for list_type in ("EMAIL", "MAID"):
                    pinterest.make_list(audience_id, list_type)

    def close(self) -> None:
        self.in_a_session.close()
        self._textbook.dispose()

    def ours(self) -> Pace:
        self.place.checkpoint()
        deployment = self.place.deployment
        intake = Intake(deployment, "benchmark")
        calls = self.sample.calls(PER_CALL)
        staging = harness.timed(calls, lambda events: stage(intake, events))
        start = perf_counter()
        deliver_everything(deployment)
        return Pace(self.sample.count, staging + perf_counter() - start)

    def textbook(self, sample: Sample, delete: Delete = delete_in_bulk) -> Pace:
        self.place.checkpoint()
        settings = self.place.deployment.settings
        with Session(self._textbook, expire_on_commit=False) as session:
            staging = harness.timed(
                sample.calls(PER_CALL),
                lambda events: add_objects(session, events, self.audience_ids),
            )
            start = perf_counter()
            send_what_is_due(
                session,
                settings.flush_messages,
                settings.records_per_request,
                self.by_the_book.post,
                delete,
            )
            return Pace(sample.count, staging + perf_counter() - start)

    def tidy(self, sample: Sample) -> Pace:
        self.place.checkpoint()
        settings = self.place.deployment.settings
        with self._textbook.connect() as connection:
            staging = harness.timed(
                sample.calls(PER_CALL),
                lambda events: insert_rows(connection, events, self.audience_ids),
            )
            start = perf_counter()
            flush_what_is_due(
                connection,
                settings.flush_messages,
                settings.records_per_request,
                self.in_a_session.post,
            )
            return Pace(sample.count, staging + perf_counter() - start)

    def check_counts(self) -> None:
        """Nothing is left, and Pinterest counted as many records as we have charged.

        And one that each list began with.
        """
        place = self.place
        assert place.ask("SELECT count(*) FROM staged_chunk") == 0
        assert place.ask("SELECT count(*) FROM batch WHERE state <> 'sent'") == 0
        assert place.ask("SELECT count(*) FROM event_row") == 0
        summary_url = place.deployment.settings.pinterest_url.replace("/v5", "/_sandbox/summary")
        lists = requests.get(summary_url, timeout=60).json()["lists"]
        theirs = {list_id for each in self.yardsticks for list_id in each.list_ids.values()}
        counted = sum(each["records_applied"] - 1 for each in lists if each["id"] not in theirs)
        assert counted == place.ask("SELECT sum(charged) FROM customer_list")


def measure(ground: Ground, sizes: Sizes) -> list[Row]:
    with (
        counting_pinterest() as pinterest_url,
        ground.place(pinterest_url=pinterest_url, **SETTINGS) as place,
    ):
        sample = Sample(sizes.events, AUDIENCES)
        smaller = Sample(sizes.sent_objects, AUDIENCES)
        smallest = Sample(sizes.sent_objects // FEWER, AUDIENCES)
        versions = EndToEnd(place, sample)
        harness.keep_out_of_collections()
        taken = harness.interleave(
            sizes.rounds,
            {
                "ours": versions.ours,
                "textbook version": lambda: versions.textbook(smaller),
                "tidy version": lambda: versions.tidy(smaller),
                "deleting one by one": lambda: versions.textbook(smallest, delete_one_by_one),
            },
        )
        versions.check_counts()
        floor = [harness.sha1_alone(sample.values[:100_000]) for _ in range(sizes.rounds)]
        versions.close()
    return _rows(taken, floor, sizes)


def _rows(taken: dict[str, list[Pace]], floor: list[Pace], sizes: Sizes) -> list[Row]:
    def faster(what: str, version: str, must: Must | None) -> Row:
        return harness.compared(what, taken["ours"], taken[version], floor, must)

    a_round, few = f"({sizes.sent_objects:,} a round)", f"({sizes.sent_objects // FEWER:,} a round)"
    must = at_least(30) if sizes.judged else None
    return [
        faster(f"end to end / textbook version {a_round}", "textbook version", must),
        faster(f"  if it deletes one by one {few}", "deleting one by one", None),
        faster(f"end to end / tidy version {a_round}", "tidy version", None),
    ]
