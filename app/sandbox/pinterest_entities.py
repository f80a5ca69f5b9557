"""Customer lists and audiences as the simulated Pinterest keeps and shows them."""

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

from app.sandbox.pinterest_behaviour import Behaviour
from app.sandbox.pinterest_counters import Counters


@dataclass(slots=True)
class CustomerList:
    """One customer list. What Pinterest never shows (type, members, tallies) stands here too."""

    id: str
    ad_account_id: str
    name: str
    list_type: str
    is_nca: bool
    created: int
    updated: int
    counters: Counters = field(default_factory=Counters)
    records_applied: int = 0
    records_seen: int = 0
    vanished: bool = False
    members: set[str] = field(default_factory=set)
    sizes: list[tuple[float, int]] = field(default_factory=list)
    """When writes were applied, and how many members there were then; none that is out of date."""

    def write(
        self,
        operation: str,
        count: int,
        digests: Collection[str] | None,
        behaviour: Behaviour,
    ) -> None:
        """Apply a write of `ADD` or `REMOVE`; without digests it is only counted."""
        now = behaviour.clock()
        delay = behaviour.counter_delay if self.sizes else 0.0  # a new list shows how it was made
        self.counters.write(operation, count, now=now, delay=delay)
        if operation == "ADD":
            self.members.update(digests or ())
        else:
            self.members.difference_update(digests or ())
        self.updated = int(now)
        self.sizes.append((now, self._size(behaviour)))
        del self.sizes[: max(0, self._processed(behaviour) - 1)]

    def matched(self, behaviour: Behaviour) -> int:
        """How many Pinterest accounts the members are."""
        return int(self._size(behaviour) * behaviour.match_rate)

    def matched_so_far(self, behaviour: Behaviour) -> int:
        """The same for the writes that have been processed."""
        processed = self._processed(behaviour)
        size = self.sizes[processed - 1][1] if processed else 0
        return int(size * behaviour.match_rate)

    def shown(self, behaviour: Behaviour, *, listing: bool = False) -> dict[str, Any]:
        """The object of API facts section 2.4; `is_nca` appears in listings only."""
        number = float if behaviour.float_counters else int
        batches, uploaded, removed = self.counters.shown(behaviour.clock())
        at_work = self._processed(behaviour) < len(self.sizes)
        matched = self.matched(behaviour)
        shown: dict[str, Any] = {
            "ad_account_id": self.ad_account_id,
            "created_time": number(self.created),
            "id": self.id,
            "name": self.name,
            "num_batches": number(batches),
            "num_removed_user_records": number(removed),
            "num_uploaded_user_records": number(uploaded),
            "type": "customerlist",
            "updated_time": number(self.updated),
            "exceptions": dict(behaviour.exceptions),
            "status": _status(behaviour, "PROCESSING" if at_work else None, matched),
        }
        return shown | {"is_nca": self.is_nca} if listing else shown

    def saved(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return asdict(self) | {"members": sorted(self.members)}

    @classmethod
    def loaded(cls, saved: dict[str, Any]) -> "CustomerList":
        counters = Counters(**saved["counters"])
        return cls(**saved | {"members": set(saved["members"]), "counters": counters})

    def _size(self, behaviour: Behaviour) -> int:
        if behaviour.count_only:
            return max(0, self.counters.uploaded - self.counters.removed)
        return len(self.members)

    def _processed(self, behaviour: Behaviour) -> int:
        """How many of the writes in `sizes` Pinterest is done with."""
        until = behaviour.clock() - behaviour.processing_seconds
        return bisect_right(self.sizes, until, key=lambda each: each[0])


@dataclass(slots=True)
class Audience:
    """One audience; `size` and status follow the list it was made from."""

    id: str
    ad_account_id: str
    name: str
    audience_type: str
    rule: dict[str, Any]
    description: str | None
    created: int
    updated: int
    made_at: float
    removed: bool = False

    def shown(
        self, behaviour: Behaviour, source: CustomerList | None, *, fresh: bool, listing: bool
    ) -> dict[str, Any]:
        """The object of API facts section 3; a fresh one does not name its company yet."""
        at_work = self.made_at > behaviour.clock() - behaviour.processing_seconds
        matched = source.matched_so_far(behaviour) if source else 0
        shown: dict[str, Any] = {
            "ad_account_id": self.ad_account_id,
            "audience_type": self.audience_type,
            "created_by_company_name": None if fresh else "Sandbox Company",
            "created_timestamp": self.created,
            "description": self.description,
            "id": self.id,
            "is_nca": source.is_nca if source else False,
            "name": self.name,
            "rule": self.rule,
            "size": 0 if at_work else matched,
            "status": _status(behaviour, "INITIALIZING" if at_work else None, matched),
            "type": "audience",
            "updated_timestamp": self.updated,
        }
        return shown | {"is_ctv_enabled": False} if listing else shown


def _status(behaviour: Behaviour, working: str | None, matched: int) -> str:
    if behaviour.unknown_status is not None:
        return behaviour.unknown_status
    if working is not None:
        return working
    return "READY" if matched >= behaviour.minimum_matched else "TOO_SMALL"
