"""The books of the simulated Pinterest: lists, members, audiences, and every request ever received.

They are the oracle of all tests: what they say happened, happened.
"""

import json
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.sandbox.pinterest_behaviour import Behaviour
from app.sandbox.pinterest_entities import Audience, CustomerList
from app.sandbox.pinterest_history import RequestRecord
from app.sandbox.pinterest_messages import Call, Records, not_found

_FIRST_LIST_ID, _FIRST_AUDIENCE_ID = 4_189_001, 2_542_620_639_001


class Books:
    """Thread-safe. Asking for a list that never was raises KeyError."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._lock = threading.Lock()
        self._lists: dict[str, CustomerList] = {}
        self._audiences: dict[str, Audience] = {}
        self._requests: list[RequestRecord] = []
        self._applied = 0

    # What tests read.

    def requests(self) -> list[RequestRecord]:
        """Every request, in the order received."""
        with self._lock:
            return list(self._requests)

    def writes(self, list_id: str | None = None) -> list[RequestRecord]:
        """Every request of category ads_write, whether it took effect or not."""
        return [
            request
            for request in self.requests()
            if request.category == "ads_write" and list_id in (None, request.list_id)
        ]

    def membership(self, list_id: str) -> set[str]:
        """Who is on the list now (a copy); of a vanished list, who was."""
        with self._lock:
            return set(self._lists[list_id].members)

    def lists(self) -> list[dict[str, Any]]:
        """Every list that still exists, with what Pinterest never shows."""
        with self._lock:
            return [self._list_in_full(each) for each in self._lists.values() if not each.vanished]

    def list_named(self, name: str) -> dict[str, Any]:
        """The only list of that name; LookupError when there is none, or more than one."""
        found = [each for each in self.lists() if each["name"] == name]
        if len(found) != 1:
            raise LookupError(f"{len(found)} lists are named {name!r}")
        return found[0]

    def audiences(self) -> list[dict[str, Any]]:
        """Every audience that was not removed."""
        with self._lock:
            living = [each for each in self._audiences.values() if not each.removed]
            return [self._shown_audience(each, listing=True) for each in living]

    def records_applied(self, list_id: str) -> int:
        """Records of creates, adds and removes that took effect, duplicates counted."""
        with self._lock:
            return self._lists[list_id].records_applied

    def records_seen(self, list_id: str) -> int:
        """Records a client must count as sent: those of every request that was not surely refused.

        That is what took effect and whatever was answered 5xx or not at all. A create that did
        not take effect belongs to no list.
        """
        with self._lock:
            return self._lists[list_id].records_seen

    def max_writes_in_a_minute(self, token: str) -> int:
        """The most write requests with this token in any 60 seconds, refused ones included."""
        times = sorted(write.received_at for write in self.writes() if write.token == token)
        most = first = 0
        for last, time in enumerate(times):
            while times[first] <= time - 60:
                first += 1
            most = max(most, last - first + 1)
        return most

    # What tests change.

    def nudge_counters(
        self, list_id: str, *, batches: int = 0, uploaded: int = 0, removed: int = 0
    ) -> None:
        """Add to the counters, as if somebody else had written to the list."""
        with self._lock:
            each = self._lists[list_id]
            each.batches += batches
            each.uploaded += uploaded
            each.removed += removed

    def delete_list(self, list_id: str) -> None:
        """Let a list vanish: 404 from now on."""
        with self._lock:
            self._lists[list_id].vanished = True

    # What the server writes.

    def received(self, call: Call) -> RequestRecord:
        """Open the entry of a request."""
        route, records, behaviour = call.route, call.records, self._behaviour
        keep = records is not None and behaviour.keep_history and not behaviour.count_only
        operation_type = call.fields.get("operation_type") if route.operation == "patch" else None
        with self._lock:
            entry = RequestRecord(
                sequence=len(self._requests) + 1,
                received_at=behaviour.clock(),
                method=call.method,
                path=route.path,
                operation=route.operation,
                category=route.category,
                ad_account_id=call.ids.get("ad_account_id"),
                list_id=call.ids.get("customer_list_id"),
                operation_type="ADD" if route.operation == "create_list" else operation_type,
                record_count=records.count if records else 0,
                token=call.token,
                records=records.raw if records and keep else None,
            )
            self._requests.append(entry)
            self._count_seen(entry, entry.record_count)
        return entry

    def answered(self, entry: RequestRecord, status: int | None) -> None:
        """Close the entry, just before the answer goes out."""
        with self._lock:
            entry.status = status
            if entry.surely_refused:
                self._count_seen(entry, -entry.record_count)

    def create_list(
        self,
        entry: RequestRecord,
        account: str,
        name: str,
        *,
        list_type: str,
        is_nca: bool,
        records: Records | None,
    ) -> dict[str, Any]:
        with self._lock:
            now = self._apply(entry)
            entry.list_id = str(_FIRST_LIST_ID + len(self._lists))
            made = CustomerList(
                entry.list_id, account, name, list_type, is_nca, int(now), int(now), now
            )
            self._lists[made.id] = made
            if records is not None:
                self._change(made, "ADD", records)
                self._count_seen(entry, records.count)
            return made.shown(self._behaviour)

    def change_list(
        self, entry: RequestRecord, account: str, list_id: str, operation: str, records: Records
    ) -> dict[str, Any]:
        """Apply a PATCH; `Refusal` 404 when there is no such list."""
        with self._lock:
            each = self._living_list(account, list_id)
            each.written_at = self._apply(entry)
            each.updated = int(each.written_at)
            each.batches += 1
            self._change(each, operation, records)
            return each.shown(self._behaviour)

    def get_list(self, account: str, list_id: str) -> dict[str, Any]:
        with self._lock:
            return self._living_list(account, list_id).shown(self._behaviour)

    def list_lists(self, account: str, *, exclude_nca: bool) -> list[dict[str, Any]]:
        """Ascending by id, as ids are given out in order."""
        with self._lock:
            return [
                each.shown(self._behaviour, listing=True)
                for each in self._lists.values()
                if each.ad_account_id == account
                and not each.vanished
                and not (exclude_nca and each.is_nca)
            ]

    def matched(self, account: str, list_id: str) -> int:
        """Matched accounts of a list; `Refusal` 404 when there is no such list."""
        with self._lock:
            return self._living_list(account, list_id).matched(self._behaviour)

    def create_audience(
        self, entry: RequestRecord, account: str, fields: dict[str, Any]
    ) -> dict[str, Any]:
        with self._lock:
            now = self._apply(entry)
            made = Audience(
                id=str(_FIRST_AUDIENCE_ID + len(self._audiences)),
                ad_account_id=account,
                name=fields["name"],
                audience_type=fields["audience_type"],
                rule=fields["rule"],
                description=fields.get("description"),
                created=int(now),
                updated=int(now),
                made_at=now,
            )
            self._audiences[made.id] = made
            return self._shown_audience(made, fresh=True)

    def change_audience(
        self, entry: RequestRecord, account: str, audience_id: str, fields: dict[str, Any]
    ) -> dict[str, Any]:
        """Apply name, description and rule, or remove the audience (its list stays)."""
        with self._lock:
            each = self._living_audience(account, audience_id)
            each.updated = int(self._apply(entry))
            each.name = fields.get("name", each.name)
            each.description = fields.get("description", each.description)
            each.rule = fields.get("rule", each.rule)
            each.removed = fields.get("operation_type") == "REMOVE"
            return self._shown_audience(each)

    def get_audience(self, account: str, audience_id: str) -> dict[str, Any]:
        with self._lock:
            return self._shown_audience(self._living_audience(account, audience_id))

    def save(self, path: Path) -> None:
        """Write lists and audiences to a file, whole or not at all; requests are not kept."""
        with self._lock:
            saved = {
                "lists": [each.saved() for each in self._lists.values()],
                "audiences": [asdict(each) for each in self._audiences.values()],
            }
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(json.dumps(saved))
        fresh.replace(path)

    def load(self, path: Path) -> None:
        """Take over lists and audiences from a file that `save` wrote."""
        saved = json.loads(path.read_text())
        with self._lock:
            self._lists = {each["id"]: CustomerList.loaded(each) for each in saved["lists"]}
            self._audiences = {each["id"]: Audience(**each) for each in saved["audiences"]}

    # Under the lock.

    def _apply(self, entry: RequestRecord) -> float:
        self._applied += 1
        entry.applied_sequence = self._applied
        entry.applied_at = self._behaviour.clock()
        return entry.applied_at

    def _change(self, each: CustomerList, operation: str, records: Records) -> None:
        each.records_applied += records.count
        if operation == "ADD":
            each.uploaded += records.count
            each.members.update(records.digests or ())
        else:
            each.removed += records.count
            each.members.difference_update(records.digests or ())

    def _count_seen(self, entry: RequestRecord, count: int) -> None:
        if entry.list_id in self._lists:
            self._lists[entry.list_id].records_seen += count

    def _living_list(self, account: str, list_id: str) -> CustomerList:
        each = self._lists.get(list_id)
        if each is None or each.vanished or each.ad_account_id != account:
            raise not_found("CustomerList")
        return each

    def _living_audience(self, account: str, audience_id: str) -> Audience:
        each = self._audiences.get(audience_id)
        if each is None or each.removed or each.ad_account_id != account:
            raise not_found("Audience")
        return each

    def _shown_audience(
        self, each: Audience, *, fresh: bool = False, listing: bool = False
    ) -> dict[str, Any]:
        source = self._lists.get(str(each.rule.get("customer_list_id")))
        return each.shown(self._behaviour, source, fresh=fresh, listing=listing)

    def _list_in_full(self, each: CustomerList) -> dict[str, Any]:
        return each.shown(self._behaviour, listing=True) | {
            "list_type": each.list_type,
            "members": len(each.members),
            "records_applied": each.records_applied,
            "records_seen": each.records_seen,
        }
