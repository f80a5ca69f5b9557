"""The reckoning: from the diary and the witness, what each upload must carry.

The witness tells in which transaction a call was committed, which chunks that transaction made and
which upload took them; the diary tells what the call said. The rest is promise 2: inside an upload
the latest moment decides.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from uuid import UUID

from tests.faults.torture.people import Change, Diary
from tests.faults.torture.witness import Seen

MARK_BYTES = 8
TYPES = ("EMAIL", "MAID")
ALWAYS_FORWARDED = "EMAIL"
"""Nobody in charge ever switches it off, so all that is said of it has to go out."""
Place = tuple[int, str]
"""An upload and a type of list."""


def message_mark(key: str) -> bytes:
    """By which intake's receipts know a message."""
    return sha256(key.encode()).digest()[:MARK_BYTES]


def http_mark(token_id: int, key: str) -> str:
    """By which Pinfold remembers a call over HTTP with a token for all connections."""
    text = "\n".join(map(repr, (f"token {token_id} over None", key)))
    return str(UUID(bytes=sha256(text.encode()).digest()[:16]))


@dataclass
class Reckoning:
    """What was accepted, and what each upload must have carried of it."""

    contents: dict[Place, dict[str, bool]] = field(default_factory=dict)
    """Digest and whether the person entered."""
    audience_of: dict[int, int] = field(default_factory=dict)
    """Of each upload."""
    violations: list[str] = field(default_factory=list)

    def complain(self, text: str) -> None:
        self.violations.append(text)


class _Commits:
    """What the witness saw, by transaction."""

    def __init__(self, seen: list[Seen], names: dict[object, str]) -> None:
        self.keys: defaultdict[str, list[str]] = defaultdict(list)
        self.chunks: defaultdict[str, dict[int, int]] = defaultdict(dict)
        self.taken: defaultdict[str, list[int]] = defaultdict(list)
        self.uploads: dict[str, dict[str, int]] = {}
        self.strangers = 0
        self._came: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self._went: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for each in seen:
            self._take(each, names)
        self._joined_into: dict[int, int] = {}
        for tx, came in self._came.items():
            for audience_id, chunk_id in self._went[tx]:
                oldest = max(
                    each for owner, each in came if owner == audience_id and each <= chunk_id
                )
                self._joined_into[chunk_id] = oldest

    def stands_in(self, chunk_id: int) -> int:
        """The chunk that what was staged as this one is in since small ones were joined."""
        while self._joined_into.get(chunk_id, chunk_id) != chunk_id:
            chunk_id = self._joined_into[chunk_id]
        return chunk_id

    def _take(self, each: Seen, names: dict[object, str]) -> None:
        row = each.fields
        match each.what:
            case "receipt INSERT" if row["source"] == "direct":
                self._name(each.tx, [row["dedupe_key"]], names)
            case "receipt INSERT" if row["source"] == "queue":
                packed = bytes.fromhex((row["message_ids"] or "\\x")[2:])
                marks = range(0, len(packed), MARK_BYTES)
                self._name(each.tx, [packed[at : at + MARK_BYTES] for at in marks], names)
            case "message_key INSERT":
                self._name(each.tx, [row["key"]], names)
            case "staged_chunk INSERT":
                self.chunks[each.tx][row["audience_id"]] = row["id"]
                self._came[each.tx].append((row["audience_id"], row["id"]))
            case "staged_chunk DELETE":
                self.taken[each.tx].append(row["id"])
                self._went[each.tx].append((row["audience_id"], row["id"]))
            case "upload INSERT":
                self.uploads[each.tx] = row

    def _name(self, tx: str, marks: list[object], names: dict[object, str]) -> None:
        known = [names[mark] for mark in marks if mark in names]
        self.strangers += len(marks) - len(known)
        self.keys[tx] += known


def reckon(
    diary: Diary, seen: list[Seen], audience_ids: dict[str, int], token_id: int
) -> Reckoning:
    """What each upload must carry; what contradicts the diary is a violation."""
    names: dict[object, str] = {key: key for key in diary.calls}
    names |= {message_mark(key): key for key in diary.calls}
    names |= {http_mark(token_id, key): key for key in diary.calls}
    commits = _Commits(seen, names)
    result = Reckoning()
    _judge_calls(result, diary, commits)
    upload_of = _uploads_of(result, commits)
    said = _sort_by_upload(result, diary, commits, upload_of, audience_ids)
    for row in commits.uploads.values():
        result.audience_of[row["id"]] = row["audience_id"]
        for list_type in TYPES:
            _fold(result, row, list_type, said[row["id"], list_type])
    return result


def _judge_calls(result: Reckoning, diary: Diary, commits: _Commits) -> None:
    times = Counter(key for keys in commits.keys.values() for key in keys)
    for key in sorted(diary.accepted - times.keys()):
        result.complain(f"lost: call {key} was accepted and never committed")
    for key, count in times.items():
        if count > 1:
            result.complain(f"counted {count} times: call {key}")
    if commits.strangers:
        result.complain(f"{commits.strangers} calls were committed that nobody made")


def _uploads_of(result: Reckoning, commits: _Commits) -> dict[int, int]:
    """The upload that took each chunk. Each must be a prefix of the order of arrival."""
    upload_of: dict[int, int] = {}
    ends: defaultdict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for tx, row in commits.uploads.items():
        ids = commits.taken[tx]
        for chunk_id in ids:
            if chunk_id in upload_of:
                result.complain(f"chunk {chunk_id} was taken by two uploads")
            upload_of[chunk_id] = row["id"]
        ends[row["audience_id"]].append((row["id"], min(ids), max(ids)))
    for uploads in ends.values():
        for (earlier, _, last), (later, first, _) in pairwise(sorted(uploads)):
            if first < last:
                result.complain(
                    f"upload {earlier} left chunk {first} to upload {later} and took chunk {last}"
                )
    return upload_of


def _sort_by_upload(
    result: Reckoning,
    diary: Diary,
    commits: _Commits,
    upload_of: dict[int, int],
    audience_ids: dict[str, int],
) -> defaultdict[Place, list[tuple[int, str, bool]]]:
    said: defaultdict[Place, list[tuple[int, str, bool]]] = defaultdict(list)
    for tx, keys in commits.keys.items():
        for key in keys:
            for change in diary.calls[key]:
                chunks = {
                    audience_id: commits.stands_in(chunk_id)
                    for audience_id, chunk_id in commits.chunks[tx].items()
                }
                _sort(result, said, change, chunks, upload_of, audience_ids, key)
    return said


def _sort(
    result: Reckoning,
    said: defaultdict[Place, list[tuple[int, str, bool]]],
    change: Change,
    chunks: dict[int, int],
    upload_of: dict[int, int],
    audience_ids: dict[str, int],
    key: str,
) -> None:
    audience_id = audience_ids[change.audience]
    upload_id = upload_of.get(chunks.get(audience_id, 0))
    for list_type, digest in change.digests:
        if upload_id is None:
            result.complain(f"lost: what call {key} said is in no upload")
        else:
            said[upload_id, list_type].append((change.moment_us, digest, change.entered))


def _fold(
    result: Reckoning,
    row: dict[str, int],
    list_type: str,
    said: list[tuple[int, str, bool]],
) -> None:
    place = row["id"], list_type
    name = list_type.lower()
    read, off, folded = (row[f"{name}_{what}"] for what in ("read", "not_forwarded", "folded"))
    if read != len(said):
        result.complain(f"upload {place} read {read} identities, {len(said)} were said")
    if off and off == read and list_type != ALWAYS_FORWARDED:
        return  # switched off, as it is now and then
    result.contents[place] = {digest: entered for _, digest, entered in sorted(said)}
    if off or len(result.contents[place]) != read - folded:
        result.complain(
            f"upload {place} folded {folded} of {read} and did not forward {off}, "
            f"{len(result.contents[place])} should be left"
        )
