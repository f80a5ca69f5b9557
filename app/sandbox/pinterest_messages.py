"""What travels between a client and the simulated Pinterest: routes, calls, replies, refusals."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl


@dataclass(slots=True)
class Reply:
    """An answer, and the manner in which it goes over the wire."""

    status: int | None
    """None: the client never gets an answer."""
    payload: bytes = b""
    headers: dict[str, str | None] = field(default_factory=dict)
    """None withholds a header that every reply would otherwise carry."""
    content_type: str = "application/json"
    delivery: str = "whole"
    """`whole`, `drop`, `reset`, `half_status`, `truncated`, `huge` or `drip`."""
    seconds: float = 0.0
    """Pause before each byte of a `drip`."""
    size: int = 0
    """Bytes of a `huge` body."""

    @classmethod
    def of(cls, status: int, content: Any) -> "Reply":
        """A JSON reply."""
        return cls(status, json.dumps(content, separators=(",", ":")).encode())


class Refusal(Exception):
    """Pinterest says no: API facts section 7. Raised anywhere, turned into a reply in one place."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def reply(self) -> Reply:
        return Reply.of(self.status, {"code": self.code, "message": self.message})


def bad_request(message: str) -> Refusal:
    return Refusal(400, 1, message)


def unauthenticated() -> Refusal:
    return Refusal(401, 2, "Authentication failed.")


def not_found(what: str) -> Refusal:
    return Refusal(404, 404, f"{what} not found.")


def choice(
    fields: Mapping[str, Any], name: str, allowed: tuple[str, ...], default: str | None = None
) -> str:
    """One of the values allowed, or the `Refusal`."""
    value = fields.get(name, default)
    if value not in allowed:
        raise bad_request(f"{name} must be one of {', '.join(allowed)}.")
    return str(value)


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API; `operation` is the name that faults and books use."""

    operation: str
    method: str
    path: str
    category: str
    scope: str | None
    client_credentials: bool = False
    """Whether a token from the client_credentials grant is enough."""

    @property
    def concerns_audiences(self) -> bool:
        """Customer lists and audiences ask for more than a look at the account."""
        return self.path.startswith("/ad_accounts/{ad_account_id}/")


_LISTS = "/ad_accounts/{ad_account_id}/customer_lists"
_AUDIENCES = "/ad_accounts/{ad_account_id}/audiences"
ROUTES = (
    Route("create_list", "POST", _LISTS, "ads_write", "ads:write"),
    Route("list_lists", "GET", _LISTS, "ads_read", "ads:read"),
    Route("get_list", "GET", _LISTS + "/{customer_list_id}", "ads_read", "ads:read", True),
    Route("patch", "PATCH", _LISTS + "/{customer_list_id}", "ads_write", "ads:write"),
    Route("create_audience", "POST", _AUDIENCES, "ads_write", "ads:write"),
    Route("list_audiences", "GET", _AUDIENCES, "ads_read", "ads:read", True),
    Route("get_audience", "GET", _AUDIENCES + "/{audience_id}", "ads_read", "ads:read", True),
    Route("patch_audience", "PATCH", _AUDIENCES + "/{audience_id}", "ads_write", "ads:write"),
    Route("list_ad_accounts", "GET", "/ad_accounts", "ads_read", "ads:read", True),
    Route("get_ad_account", "GET", "/ad_accounts/{ad_account_id}", "ads_read", "ads:read", True),
    Route("get_user_account", "GET", "/user_account", "org_read", "user_accounts:read", True),
    Route("token", "POST", "/oauth/token", "org_read", None),
)
UNKNOWN = Route("unknown", "", "unknown", "org_read", None)
_PATTERNS = [
    (re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", route.path)), route) for route in ROUTES
]


def find_route(method: str, path: str) -> tuple[Route, dict[str, str]]:
    """The route of a path below /v5 and the ids in it; `Refusal` 404 or 405 when there is none."""
    matches = [(m, route) for pattern, route in _PATTERNS if (m := pattern.fullmatch(path))]
    for match, route in matches:
        if route.method == method:
            return route, match.groupdict()
    if matches:
        raise Refusal(405, 5, "Method not allowed.")
    raise not_found("Route")


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one write: the string as it was sent, and what it holds."""

    raw: str
    count: int
    digests: list[str] | None
    """Without blanks, in order; None when the simulator only counts."""


def split_records(raw: str) -> list[str]:
    """Items of a comma-separated string; blank ones do not count (API facts section 2.1)."""
    return list(filter(None, map(str.strip, raw.split(","))))


def read_records(fields: dict[str, Any], count_only: bool) -> Records | None:
    """The records of a body, from `records` or (5.28) `records_v2`; None when it names neither."""
    if "records_v2" in fields and "records" in fields:
        raise bad_request("Send exactly one of records and records_v2.")
    raw = _joined(fields["records_v2"]) if "records_v2" in fields else fields.get("records")
    if raw is None:
        return None
    if not isinstance(raw, str):
        raise bad_request("records must be a comma-separated string.")
    if count_only and not (",," in raw or " " in raw or raw[:1] in ("", ",") or raw[-1] == ","):
        return Records(raw, raw.count(",") + 1, None)
    digests = split_records(raw)
    return Records(raw, len(digests), None if count_only else digests)


def _joined(rows: Any) -> str:
    """The first identifier of each `records_v2` row, written the way `records` is."""
    keys = ("email", "maid", "hashed_phone_number", "hashed_pinner_id", "external_id")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise bad_request("records_v2 must be a list of objects.")
    return ",".join(next((str(row[key]) for key in keys if row.get(key)), "") for row in rows)


@dataclass(slots=True)
class Call:
    """One request as far as it could be understood; `problem` is raised when its turn comes."""

    method: str
    path: str
    query: dict[str, str]
    authorization: str
    route: Route = UNKNOWN
    ids: dict[str, str] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    records: Records | None = None
    problem: Refusal | None = None
    person: str = ""
    """Whose token it is, once that was found out."""

    @property
    def token(self) -> str:
        scheme, _, token = self.authorization.partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""


def understand(
    method: str,
    target: str,
    authorization: str,
    body: bytes,
    *,
    count_only: bool,
    limit: int | None,
) -> Call:
    """Read a request whose target is below /v5; what is wrong with it becomes its `problem`."""
    path, _, query = target.partition("?")
    call = Call(method, path, dict(parse_qsl(query, keep_blank_values=True)), authorization)
    try:
        call.route, call.ids = find_route(method, path)
        _check_size(body, limit)
        if call.route.operation == "token":
            call.fields = dict(parse_qsl(body.decode("latin-1"), keep_blank_values=True))
        elif method in ("POST", "PATCH"):
            call.fields = _json_object(body)
        if call.route.operation in ("create_list", "patch"):
            call.records = read_records(call.fields, count_only)
    except Refusal as refusal:
        call.problem = refusal
    return call


def _check_size(body: bytes, limit: int | None) -> None:
    if limit is not None and len(body) > limit:
        raise Refusal(413, 413, "Request body too large.")


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise bad_request("The body is not valid JSON.") from None
    if not isinstance(fields, dict):
        raise bad_request("The body must be a JSON object.")
    return fields
