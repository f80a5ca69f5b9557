"""Customer lists and audiences as the simulated Pinterest keeps and shows them."""

from dataclasses import asdict, dataclass, field
from typing import Any

from app.sandbox.pinterest_behaviour import Behaviour


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
    written_at: float
    """When the last write was applied: the status is PROCESSING for a while after it."""
    batches: int = 1
    uploaded: int = 0
    removed: int = 0
    records_applied: int = 0
    records_seen: int = 0
    vanished: bool = False
    members: set[str] = field(default_factory=set)

    def matched(self, behaviour: Behaviour) -> int:
        """How many Pinterest accounts the members are."""
        counting = max(0, self.uploaded - self.removed) if behaviour.count_only else 0
        return int((len(self.members) or counting) * behaviour.match_rate)

    def shown(self, behaviour: Behaviour, *, listing: bool = False) -> dict[str, Any]:
        """The object of API facts section 2.4; `is_nca` appears in listings only."""
        number = float if behaviour.float_counters else int
        shown: dict[str, Any] = {
            "ad_account_id": self.ad_account_id,
            "created_time": number(self.created),
            "id": self.id,
            "name": self.name,
            "num_batches": number(self.batches),
            "num_removed_user_records": number(self.removed),
            "num_uploaded_user_records": number(self.uploaded),
            "type": "customerlist",
            "updated_time": number(self.updated),
            "exceptions": dict(behaviour.exceptions),
            "status": _status(behaviour, self.written_at, "PROCESSING", self.matched(behaviour)),
        }
        return shown | {"is_nca": self.is_nca} if listing else shown

    def saved(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return asdict(self) | {"members": sorted(self.members)}

    @classmethod
    def loaded(cls, saved: dict[str, Any]) -> "CustomerList":
        return cls(**saved | {"members": set(saved["members"])})


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
        matched = source.matched(behaviour) if source and not source.vanished else 0
        status = _status(behaviour, self.made_at, "INITIALIZING", matched)
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
            "size": 0 if status == "INITIALIZING" else matched,
            "status": status,
            "type": "audience",
            "updated_timestamp": self.updated,
        }
        return shown | {"is_ctv_enabled": False} if listing else shown


def _status(behaviour: Behaviour, since: float, working: str, matched: int) -> str:
    if behaviour.unknown_status is not None:
        return behaviour.unknown_status
    if behaviour.clock() < since + behaviour.processing_seconds:
        return working
    return "READY" if matched >= behaviour.minimum_matched else "TOO_SMALL"
