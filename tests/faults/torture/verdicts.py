"""The verdicts on one list: cap, pace, ends of attempts, order, what was lost, who is a member."""

from __future__ import annotations

from collections import Counter, defaultdict

from app.sandbox.pinterest import RequestRecord
from app.sandbox.pinterest_books import Books
from tests.faults.torture.conditions import QUARANTINE_S
from tests.faults.torture.history import Attempt, CustomerList, shown
from tests.faults.torture.reckoning import ALWAYS_FORWARDED, Reckoning

CAP = 300_000_000
SETTLED = ("over_cap", "not_forwarded", "quarantined")
Batches = Counter[tuple[int, int, str]]
"""Records by upload, list and state."""


def judge_cap(each: CustomerList, writes: list[RequestRecord]) -> list[str]:
    """At every instant: what Pinterest may have processed <= what is charged <= the cap."""
    changes: list[tuple[float, int, int, str]] = []
    for attempt in each.attempts:
        changes.append((attempt.charged_at, 0, attempt.records, attempt.purpose))
        if attempt.state == "refused":
            changes.append((attempt.settled_at or 0.0, 2, -attempt.records, "refused"))
    for request in writes:
        if not request.surely_refused:
            changes.append((request.received_at, 1, request.record_count, "request"))
    violations: list[str] = []
    charged = processed = 0
    for at, kind, records, what in sorted(changes):
        if kind == 1:
            processed += records
        else:
            charged += records
        limit = each.cap - each.reserve * (what in ("ADD", "CREATE", "PROBE"))
        if kind == 0 and records and charged > limit:
            violations.append(
                f"over the cap: {each.name}: {charged} charged of {limit} at {at:.3f}"
            )
        if kind != 0 and processed > charged:
            violations.append(
                f"uncharged: {each.name}: Pinterest may have processed {processed}, "
                f"{charged} were charged at {at:.3f}"
            )
    if charged != each.charged:
        violations.append(f"ledger: {each.name}: charged {each.charged}, attempts say {charged}")
    return violations


def judge_pace(each: CustomerList) -> list[str]:
    """One attempt at a time."""
    violations = []
    for earlier, later in zip(each.attempts, each.attempts[1:], strict=False):
        if earlier.settled_at is None or earlier.settled_at > later.charged_at:
            violations.append(
                f"side by side: {each.name}: {later.shown()} began before {earlier.shown()} ended"
            )
    return violations


def judge_ends(each: CustomerList) -> list[str]:
    """A charge is given back, or a batch counts as sent, only where Pinterest answered so."""
    return [
        f"wrong end: {each.name}: {attempt.shown()} made {shown(attempt.request)}"
        for attempt in each.attempts
        if attempt.request is not None and not attempt.ended_as(attempt.request)
    ]


def judge_order(each: CustomerList) -> list[str]:
    """No older upload's operation takes effect after a newer one's that says otherwise."""
    applied = [
        (attempt.request, attempt)
        for attempt in each.attempts
        if attempt.request is not None and attempt.request.applied and attempt.purpose != "PROBE"
    ]
    applied.sort(key=lambda pair: pair[0].applied_sequence or 0)
    newest: dict[str, tuple[int, bool]] = {}
    violations = []
    for request, attempt in applied:
        upload_id, entered = attempt.upload_id or 0, attempt.purpose == "ADD"
        for digest in request.digests:
            before = newest.get(digest)
            if before is None or upload_id >= before[0]:
                newest[digest] = upload_id, entered
            elif before[1] is not entered and not _was_too_late(request, attempt):
                violations.append(
                    f"regression: {each.name}: {digest[:8]} by {shown(request)} of upload "
                    f"{upload_id}, {attempt.shown()}, after upload {before[0]}"
                )
    return violations


def _was_too_late(request: RequestRecord, attempt: Attempt) -> bool:
    """Whether Pinterest, starved, applied it later than the quarantine can cover."""
    if request.applied_at is None or attempt.settled_at is None:
        return False
    return request.applied_at - attempt.settled_at > QUARANTINE_S


def judge_loss(each: CustomerList, reckoning: Reckoning, batches: Batches) -> list[str]:
    """Each identity of each upload was sent, or stands in the books under a named reason."""
    sent, refused_alone = _what_went(each)
    violations = []
    for (upload_id, list_type), contents in reckoning.contents.items():
        if list_type != each.list_type or reckoning.audience_of[upload_id] != each.audience_id:
            continue
        missing = contents.keys() - sent[upload_id]
        booked = {state: batches[upload_id, each.id, state] for state in SETTLED}
        if len(missing) != sum(booked.values()):
            some = ", ".join(sorted(digest[:8] for digest in missing)[:5])
            violations.append(
                f"lost: {each.name}: upload {upload_id} did not send {len(missing)} of "
                f"{len(contents)} ({some}), the books say {booked}"
            )
        innocents = booked["quarantined"] > len(missing & refused_alone[upload_id])
        for complaint in _judge_reasons(each, booked, innocents=innocents):
            violations.append(f"{each.name}: upload {upload_id} {complaint}")
    return violations


def _what_went(
    each: CustomerList,
) -> tuple[defaultdict[int, set[str]], defaultdict[int, set[str]]]:
    """By upload: the digests that were sent, and those that were refused alone."""
    sent: defaultdict[int, set[str]] = defaultdict(set)
    refused_alone: defaultdict[int, set[str]] = defaultdict(set)
    for attempt in each.attempts:
        if attempt.request is None or attempt.upload_id is None:
            continue
        if attempt.state == "sent":
            sent[attempt.upload_id] |= set(attempt.request.digests)
        elif attempt.state == "refused" and attempt.records == 1:
            refused_alone[attempt.upload_id] |= set(attempt.request.digests)
    return sent, refused_alone


def _judge_reasons(each: CustomerList, booked: dict[str, int], *, innocents: bool) -> list[str]:
    """The product's own word is not enough: no reason holds where it cannot be true."""
    complaints = []
    if innocents:
        complaints.append("has innocents in quarantine")
    if booked["over_cap"] and each.cap == CAP:
        complaints.append("is over a cap that there is not")
    if booked["not_forwarded"] and each.list_type == ALWAYS_FORWARDED:
        complaints.append("left out what is never switched off")
    return complaints


def judge_members(each: CustomerList, books: Books, nobodies: set[str]) -> list[str]:
    """Who is a member in the end: by each identity's last upload that reached Pinterest."""
    reached: dict[str, tuple[int, bool]] = {}
    for attempt in each.attempts:
        request = attempt.request
        if request is None or not (attempt.state == "sent" or request.applied):
            continue
        if attempt.purpose == "PROBE":
            nobodies = nobodies | set(request.digests)
            continue
        for digest in request.digests:
            upload_id = attempt.upload_id or 0
            if upload_id >= reached.get(digest, (0, False))[0]:
                reached[digest] = upload_id, attempt.purpose == "ADD"
    due = {digest for digest, (_, entered) in reached.items() if entered}
    there = books.membership(each.pinterest_id or "") - nobodies
    return [
        f"member: {each.name}: {digest[:8]} is {'missing' if digest in due else 'too many'}, "
        f"its last upload was {reached.get(digest, (0, False))[0]}"
        for digest in sorted(due ^ there)
    ]
