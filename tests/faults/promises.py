"""What must hold after every move of a history, and once everything has been delivered.

The product's own books are held against the model's reckoning, and Pinterest's history of requests
against both: which write belongs to which upload is told by the attempt behind it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from app.books import read_books
from app.sandbox.pinterest_history import RequestRecord
from tests.faults.late_requests import Way
from tests.faults.reckoning import (
    LISTS,
    POISON,
    ReckonedUpload,
    Switches,
    Word,
    reckon_members,
    reckon_upload,
)
from tests.workshop import Workshop

Place = tuple[int, str]
"""An upload, and the type of a list."""


class Promises:
    def __init__(self, workshop: Workshop, way: Way, audience_ids: list[int]) -> None:
        self._workshop, self._books, self._way = workshop, workshop.simulator.books, way
        self.accepted: Counter[tuple[int, str]] = Counter()
        """Identities, by audience and list type."""
        self.waiting: dict[int, dict[int, list[Word]]] = {each: {} for each in audience_ids}
        """By audience and chunk, what was accepted and not yet cut."""
        self.uploads: dict[int, ReckonedUpload] = {}
        self.reached: defaultdict[str, set[int]] = defaultdict(set)
        """The uploads of which something was applied, by list at Pinterest."""
        self.under_a_low_cap: set[Place] = set()
        """What may be booked over the cap: it was there while the cap was low."""
        self.switched_off: set[Place] = set()
        """What may be booked as not forwarded: it was there while nobody might send it."""
        self._newest_cut = dict.fromkeys(audience_ids, 0)
        self._newest_word: dict[tuple[str | None, str], int] = {}
        self._heard = len(self._books.requests())

    # As things happen.

    def chunks(self) -> dict[int, set[int]]:
        """The chunks that wait in the database, by audience."""
        found: dict[int, set[int]] = {each: set() for each in self.waiting}
        for row in self._workshop.rows(
            "SELECT audience_id, id FROM staged_chunk"
            " UNION ALL SELECT audience_id, id FROM held_chunk"
        ):
            found[row.audience_id].add(row.id)
        return found

    def note_accepted(self, words: dict[int, list[Word]]) -> None:
        """A call was committed: it left one chunk for each audience."""
        chunks = self.chunks()
        for audience_id, each in words.items():
            (new,) = chunks[audience_id] - self.waiting[audience_id].keys()
            self.waiting[audience_id][new] = each
            self.accepted.update((audience_id, word.person.list_type) for word in each)

    def note_cut(self, switches: Switches) -> None:
        """A cut took the oldest that waited, counted it right, and left all else alone."""
        chunks = self.chunks()
        newest = max(self.uploads, default=0)
        for row in self._workshop.rows("SELECT * FROM upload WHERE id > :n", n=newest):
            waiting = self.waiting[row.audience_id]
            taken = sorted(waiting.keys() - chunks[row.audience_id])
            assert taken == sorted(waiting)[: len(taken)], "a cut left something older behind"
            assert taken[0] > self._newest_cut[row.audience_id], "something came behind a cut"
            self._newest_cut[row.audience_id] = taken[-1]
            words = [waiting.pop(number) for number in taken]
            self.uploads[row.id] = reckon_upload(row.audience_id, words, switches)
            self._compare_cut(row, self.uploads[row.id])
        for audience_id, waiting in self.waiting.items():
            assert waiting.keys() == chunks[audience_id], "accepted messages disappeared"

    def note_joined(self) -> None:
        """What was joined waits under the id of the oldest, in its order."""
        for audience_id, chunks in self.chunks().items():
            waiting = self.waiting[audience_id]
            for number in sorted(waiting.keys() - chunks):
                older = [each for each in chunks if each < number]
                assert older, "accepted messages disappeared"
                waiting[max(older)] += waiting.pop(number)

    def _compare_cut(self, row: Any, reckoned: ReckonedUpload) -> None:
        batches = self._workshop.rows(
            "SELECT l.list_type, b.operation, sum(b.record_count) AS records FROM batch b"
            " JOIN customer_list l ON l.id = b.customer_list_id"
            " WHERE b.upload_id = :u AND b.parent_id IS NULL GROUP BY 1, 2",
            u=row.id,
        )
        cut = {(each.list_type, each.operation): each.records for each in batches}
        for list_type in LISTS:
            name = list_type.lower()
            assert getattr(row, f"{name}_read") == reckoned.read[list_type]
            assert getattr(row, f"{name}_not_forwarded") == reckoned.not_forwarded[list_type]
            for operation in ("ADD", "REMOVE"):
                digests = reckoned.digests(list_type, operation)
                assert cut.get((list_type, operation), 0) == len(digests)

    # After every move.

    def check(self) -> None:
        for book in read_books(self._workshop.deployment):
            assert book.balanced, book
            assert book.received == self.accepted[book.audience_id, book.list_type], book
        for row in self._made_lists():
            assert self._books.records_applied(row.pinterest_list_id) <= row.charged
            assert self._books.records_seen(row.pinterest_list_id) <= row.charged
        requests = self._books.requests()
        for entry in requests[self._heard :]:
            attempt = self._way.attempt_of[entry.sequence]
            if entry.operation == "patch" and entry.applied and attempt.purpose != "PROBE":
                self._check_effect(entry, attempt.upload_id)
        self._heard = len(requests)

    def _check_effect(self, entry: RequestRecord, upload_id: int) -> None:
        """A write says what the last word of its upload was, and comes after none of a later."""
        upload = self.uploads[upload_id]
        said = upload.last_words["EMAIL"] | upload.last_words["MAID"]
        for digest in entry.digests:
            assert said.get(digest) == entry.operation_type, "the last word was another one"
            before = self._newest_word.get((entry.list_id, digest), 0)
            assert before <= upload_id, "an earlier upload took effect after a later one"
            self._newest_word[entry.list_id, digest] = upload_id
        upload.reached.update(entry.digests)
        self.reached[str(entry.list_id)].add(upload_id)

    def _made_lists(self) -> list[Any]:
        return self._workshop.rows(
            "SELECT * FROM customer_list WHERE pinterest_list_id IS NOT NULL"
        )

    # In the end.

    def judge(self) -> int:
        """Each identity was delivered or stands in the books, and the right ones are members.

        Returns of how many lots of an upload all but what Pinterest refuses had to be delivered.
        """
        strict = 0
        for number, upload in self.uploads.items():
            for list_type in LISTS:
                for operation in ("ADD", "REMOVE"):
                    digests = upload.digests(list_type, operation)
                    booked = self._booked(number, list_type, operation)
                    strict += self._judge_lot((number, list_type), digests, upload.reached, booked)
        for row in self._made_lists():
            reached = self.reached[row.pinterest_list_id]
            members = reckon_members(self.uploads, row.list_type, reached)
            known = set().union(*(self.uploads[number].reached for number in reached))
            assert self._books.membership(row.pinterest_list_id) & known == members
        return strict

    def _booked(self, upload_id: int, list_type: str, operation: str) -> dict[str, int]:
        """Records by the state of their batches."""
        rows = self._workshop.rows(
            "SELECT b.state, sum(b.record_count) AS records FROM batch b"
            " JOIN customer_list l ON l.id = b.customer_list_id"
            " WHERE b.upload_id = :u AND l.list_type = :t AND b.operation = :o"
            "   AND b.state <> 'split' GROUP BY 1",
            u=upload_id,
            t=list_type,
            o=operation,
        )
        return {row.state: row.records for row in rows}

    def _judge_lot(
        self, place: Place, digests: set[str], reached: set[str], booked: dict[str, int]
    ) -> bool:
        """What can be known of one upload's digests of one operation for one list.

        Returns whether all but what Pinterest refuses had to be delivered.
        """
        assert sum(booked.values()) == len(digests)
        sent = booked.pop("sent", 0)
        assert sent <= len(digests & reached), "booked as sent, and Pinterest never applied it"
        assert len(digests - reached) <= sum(booked.values()), "neither delivered nor booked"
        assert booked.get("quarantined", 0) <= len(digests & POISON)
        assert place in self.under_a_low_cap or not booked.get("over_cap")
        assert place in self.switched_off or not booked.get("not_forwarded")
        if place in self.under_a_low_cap | self.switched_off:
            return False
        assert digests - reached == digests & POISON
        return bool(digests)
