"""The switches of the Pinterest simulator: what is undocumented, or differs by account."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ALL_SCOPES = ("ads:read", "ads:write", "user_accounts:read")
DEFAULT_PERSON = "sandbox"


@dataclass
class Behaviour:
    """How the simulated Pinterest behaves. Read anew for every call, so it may change at any time.

    Where Pinterest documents a rule the default follows it; where it does not, the default is the
    likelier reading of API facts sections 2 to 6.
    """

    writes_per_minute: int | None = 400
    """Quota of the category ads_write, per person and app; None lifts it. So for the next two."""
    reads_per_minute: int | None = 1000
    token_calls_per_minute: int | None = 1000
    calls_per_second: int | None = None
    """Quota of all calls together (100 at Pinterest); lifted unless a test wants it."""
    trial: bool = False
    """The apps have trial access: the next three quotas hold too, per app."""
    trial_writes_per_day: int = 300
    trial_reads_per_day: int = 1000
    """Of ads_read, and as many token calls."""
    trial_calls_per_day: int = 1000
    """Of all calls together."""
    rate_headers: bool = True

    processing_seconds: float = 60.0
    """How long a list stays PROCESSING after a write, and an audience INITIALIZING. Pinterest
    takes up to 24 hours; sizes follow a write after the same time.
    """
    counter_delay: float = 0.0
    """Seconds until a write shows in the counters of its list; that of a create shows at once."""
    match_rate: float = 1.0
    """Share of the members of a list that are Pinterest accounts, 0 to 1."""
    minimum_matched: int = 100
    refuse_small_audience: bool = False
    """Answer 400 to an audience made from a list with fewer matches than `minimum_matched`."""
    refuse_empty_create: bool = True

    max_records: int | None = None
    """More records than this in one request are answered 413; None is unlimited."""
    max_body_bytes: int | None = None

    created_status: int = 200
    """Status of successful creates and token calls: 200 as recorded, 201 as declared since 5.28."""
    float_counters: bool = False
    exceptions: Mapping[str, Any] = field(default_factory=dict)
    unknown_status: str | None = None
    """A status outside the documented ones, shown by every list and audience when set."""

    keep_history: bool = True
    """Keep the records of every request. The requests themselves are always kept."""
    count_only: bool = False
    """For benchmarks: count records, keep neither them nor the membership."""

    signed_in: str = DEFAULT_PERSON
    """Who sits at the browser that opens the consent page."""
    consent: Literal["ask", "allow", "deny"] = "ask"
    """Other than `ask`, the page clicks its own button as soon as a browser shows it."""
    granted_scopes: tuple[str, ...] | None = None
    """What a person who allows really gives; None is what the app asks for."""
    not_permitted_status: int = 403
    """Status for a person without the role: 401 or 403, see API facts section 7."""
    code_seconds: int = 600
    rotate_refresh: bool = True
    old_refresh_dies: bool = True
    return_refresh: bool = True
    """Whether a refresh names a refresh token at all: must in 5.23, optional since 5.28."""
    dead_refresh_status: int = 401
    """Status for a dead refresh token: 400 or 401, see API facts section 12 point 8."""
    access_token_seconds: int = 2_592_000
    refresh_token_seconds: int = 5_184_000
    expires_in_as_text: bool = False
    scope_separator: str = " "
    scopes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Scopes of the tokens named at the start; a token that is not named here has all of them."""

    clock: Callable[[], float] = time.time
    """Unix seconds. Statuses, quotas, token lives and the books all follow it."""
