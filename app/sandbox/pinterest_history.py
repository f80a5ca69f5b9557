"""Every request that the simulated Pinterest ever received, and what came of it."""

import threading
from dataclasses import asdict, dataclass, field
from typing import Any

from app.sandbox.pinterest_behaviour import Behaviour
from app.sandbox.pinterest_messages import Call, split_records


@dataclass(slots=True)
class RequestRecord:
    """One request: what came, whether it took effect, what was answered. Times in Unix seconds."""

    sequence: int
    received_at: float
    method: str
    path: str
    """The template, such as /ad_accounts/{ad_account_id}/customer_lists."""
    operation: str
    """The name of the route: `patch`, `create_list`, ... or `unknown`."""
    category: str
    ad_account_id: str | None
    list_id: str | None
    """The list addressed, or made by this request."""
    operation_type: str | None
    """ADD or REMOVE; a create counts as ADD. Of a token call: its grant type."""
    record_count: int
    token: str = field(repr=False)
    records: str | None = field(default=None, repr=False)
    """The string as sent; None when there was none or the history is off."""
    status: int | None = None
    """What was answered; None while there is no answer, and for ever when none was sent."""
    fault: str | None = None
    applied_at: float | None = None
    applied_sequence: int | None = None
    """Place in the order in which requests took effect, which may differ from `sequence`."""

    @property
    def applied(self) -> bool:
        return self.applied_sequence is not None

    @property
    def digests(self) -> list[str]:
        """The records in order, without blanks; empty when the history is off."""
        return split_records(self.records or "")

    @property
    def surely_refused(self) -> bool:
        """The client was told, in Pinterest's own words, that nothing was processed."""
        return not self.applied and self.status is not None and 400 <= self.status < 500

    def shown(self, *, records: bool) -> dict[str, Any]:
        """Everything but the token; the records only if asked."""
        shown = asdict(self) | {"applied": self.applied}
        del shown["token"]
        if not records:
            del shown["records"]
        return shown


class History:
    """The requests. Thread-safe."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._lock = threading.Lock()
        self._requests: list[RequestRecord] = []
        self._applied = 0

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

    def grants(self, kind: str | None = None) -> list[RequestRecord]:
        """Every call of the token endpoint, or those of one grant type, whatever came of it.

        `applied` says that tokens were given, also where the answer got lost.
        """
        return [
            request
            for request in self.requests()
            if request.operation == "token" and kind in (None, request.operation_type)
        ]

    def max_writes_in_a_minute(self, token: str | None = None) -> int:
        """The most write requests in any 60 seconds, refused ones included; of one token or all."""
        writes = [write for write in self.writes() if token in (None, write.token)]
        times = sorted(write.received_at for write in writes)
        most = first = 0
        for last, time in enumerate(times):
            while times[first] <= time - 60:
                first += 1
            most = max(most, last - first + 1)
        return most

    def received(self, call: Call) -> RequestRecord:
        """Open the entry of a request."""
        route, records, behaviour = call.route, call.records, self._behaviour
        keep = records is not None and behaviour.keep_history and not behaviour.count_only
        named = {"patch": "operation_type", "token": "grant_type"}.get(route.operation, "")
        operation_type = "ADD" if route.operation == "create_list" else call.fields.get(named)
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
                operation_type=operation_type,
                record_count=records.count if records else 0,
                token=call.token,
                records=records.raw if records and keep else None,
            )
            self._requests.append(entry)
        return entry

    def answered(self, entry: RequestRecord, status: int | None) -> None:
        """Close the entry, just before the answer goes out."""
        with self._lock:
            entry.status = status

    def took_effect(self, entry: RequestRecord) -> None:
        """Note that a request did what it asked for, where that changes no list or audience."""
        with self._lock:
            self._apply(entry)

    def _apply(self, entry: RequestRecord) -> float:
        """Note under the lock that a request takes effect now."""
        self._applied += 1
        entry.applied_sequence = self._applied
        entry.applied_at = self._behaviour.clock()
        return entry.applied_at
