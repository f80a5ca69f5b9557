"""What the books of the simulated Pinterest note about every request."""

from dataclasses import asdict, dataclass, field
from typing import Any

from app.sandbox.pinterest_messages import split_records


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
    """ADD or REMOVE; a create counts as ADD."""
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
