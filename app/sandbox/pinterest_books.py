"""The books of the simulated Pinterest: lists, members, audiences, and every request ever received.

They are the oracle of all tests: what they say happened, happened.
"""

import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.sandbox.pinterest_behaviour import Behaviour
from app.sandbox.pinterest_entities import Audience, CustomerList
from app.sandbox.pinterest_history import History, RequestRecord
from app.sandbox.pinterest_messages import Call, Records, not_found

_FIRST_LIST_ID, _FIRST_AUDIENCE_ID = 4_189_001, 2_542_620_639_001


class Books(History):
    """Thread-safe. Asking for a list or an audience that never was raises KeyError."""

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(behaviour)
        self._lists: dict[str, CustomerList] = {}
        self._audiences: dict[str, Audience] = {}

    # What tests read.

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
        """Every audience that still exists."""
        with self._lock:
            living = [each for each in self._audiences.values() if self._lives(each)]
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

    # What tests change.

    def nudge_counters(
        self, list_id: str, *, batches: int = 0, uploaded: int = 0, removed: int = 0
    ) -> None:
        """Move the counters at once, for whatever reason; the members stay."""
        with self._lock:
            self._lists[list_id].counters.move(batches, uploaded, removed)

    def skip_counting(self, list_id: str, times: int = 1) -> None:
        """Let the next writes to a list take effect without being counted."""
        with self._lock:
            self._lists[list_id].counters.to_skip += times

    def settle_counters(self, list_id: str | None = None) -> None:
        """Show what has been counted late so far, of one list or all."""
        with self._lock:
            named = self._lists.values() if list_id is None else [self._lists[list_id]]
            for each in named:
                each.counters.settle()

    def write_as_another(
        self, list_id: str, add: Collection[str] = (), remove: Collection[str] = ()
    ) -> None:
        """Write to a list as somebody else, who stands in no history: removes first, a batch each.

        Membership, counters and status move; what is told of our own records does not.
        """
        with self._lock:
            for operation, digests in (("REMOVE", remove), ("ADD", add)):
                if digests:
                    self._lists[list_id].write(operation, len(digests), digests, self._behaviour)

    def delete_list(self, list_id: str) -> None:
        """Let a list vanish, with the audiences made from it: 404 from now on."""
        with self._lock:
            self._lists[list_id].vanished = True

    def remove_audience(self, audience_id: str) -> None:
        """Remove an audience, as a person does in Ads Manager: 404 from now on; its list stays."""
        with self._lock:
            self._audiences[audience_id].removed = True

    # What the server writes.

    def received(self, call: Call) -> RequestRecord:
        entry = super().received(call)
        with self._lock:
            self._count_seen(entry, entry.record_count)
        return entry

    def answered(self, entry: RequestRecord, status: int | None) -> None:
        super().answered(entry, status)
        if entry.surely_refused:
            with self._lock:
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
            made = CustomerList(entry.list_id, account, name, list_type, is_nca, int(now), int(now))
            self._lists[made.id] = made
            self._write(made, "ADD", records or Records("", 0, None))
            self._count_seen(entry, entry.record_count)
            return made.shown(self._behaviour)

    def change_list(
        self, entry: RequestRecord, account: str, list_id: str, operation: str, records: Records
    ) -> dict[str, Any]:
        """Apply a PATCH; `Refusal` 404 when there is no such list."""
        with self._lock:
            each = self._living_list(account, list_id)
            self._apply(entry)
            self._write(each, operation, records)
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

    def _write(self, each: CustomerList, operation: str, records: Records) -> None:
        each.records_applied += records.count
        each.write(operation, records.count, records.digests, self._behaviour)

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
        if each is None or each.ad_account_id != account or not self._lives(each):
            raise not_found("Audience")
        return each

    def _lives(self, each: Audience) -> bool:
        source = self._source(each)
        return not each.removed and not (source and source.vanished)

    def _source(self, each: Audience) -> CustomerList | None:
        return self._lists.get(str(each.rule.get("customer_list_id")))

    def _shown_audience(
        self, each: Audience, *, fresh: bool = False, listing: bool = False
    ) -> dict[str, Any]:
        source = self._source(each)
        return each.shown(self._behaviour, source, fresh=fresh, listing=listing)

    def _list_in_full(self, each: CustomerList) -> dict[str, Any]:
        return each.shown(self._behaviour, listing=True) | {
            "list_type": each.list_type,
            "members": len(each.members),
            "records_applied": each.records_applied,
            "records_seen": each.records_seen,
        }
