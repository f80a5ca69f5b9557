"""One call to Pinterest is at most one HTTP request (reliability, H1 to H7).

No retries, no redirects, no proxies or .netrc from the environment. A call never raises for what
happens on the wire: it returns an Answer, and ``outcomes.judge`` says what it means. The body is
read with a size limit and under the total deadline, after the status: a 200 whose body breaks off
is still a 200.

A server that drips its headers byte by byte can outlast the deadline; the dead-man timer of the
worker ends that (``app.deadman``).
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import orjson
import requests
import urllib3
from requests.adapters import HTTPAdapter

from app.pinterest.kept_sessions import KEPT, KEPT_FOR_S, KeptSession
from app.pinterest.outcomes import Answer
from app.pinterest.pacing import read_allowance
from app.settings import Settings

LARGEST_REPLY = 1 << 20
PAGE_SIZE = 250
_HANDSHAKE_FAILED = re.compile(
    "CERTIFICATE_VERIFY_FAILED|HANDSHAKE_FAILURE|WRONG_VERSION_NUMBER|UNSUPPORTED_PROTOCOL"
)


@dataclass(frozen=True)
class Patience:
    """How long one call may take, in seconds."""

    connect: float
    read: float
    in_all: float

    @classmethod
    def of(cls, s: Settings) -> Patience:
        return cls(s.connect_timeout, s.read_timeout, s.call_deadline)


class Wire:
    """A session with one base address. Not shared between threads.

    ``kept``: the session is taken up where another wire with the same headers left it, and left for
    the next.
    """

    def __init__(
        self,
        base_url: str,
        patience: Patience,
        headers: Mapping[str, str],
        secrets: set[str],
        *,
        kept: bool = False,
    ) -> None:
        self.secrets = secrets
        """What is shown to Pinterest; where its answers repeat it, nobody else is to see it."""
        self._base_url = base_url.rstrip("/")
        self._patience = patience
        self._name = (self._base_url, *headers.items()) if kept else None
        kept_session = KEPT.take(self._name)
        self._answered_at = kept_session.answered_at if kept_session else -math.inf
        self.session = kept_session.session if kept_session else _new_session(headers)

    def close(self) -> None:
        """Keep the session if its last request was answered just now, else close it."""
        if self._name is not None and self._answered_at > -math.inf:
            KEPT.keep(KeptSession(self._answered_at, self._name, self.session))
        else:
            self.session.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make one request and wait for its answer."""
        deadline = time.monotonic() + self._patience.in_all
        if time.monotonic() - self._answered_at > KEPT_FOR_S:
            self.session.close()  # its connection; the session opens another one
        self._answered_at = -math.inf
        try:
            response = self.session.request(
                method,
                self._base_url + path,
                data=body,
                params=query,
                headers=headers,
                timeout=(self._patience.connect, self._patience.read),
                allow_redirects=False,
                stream=True,
            )
        except requests.RequestException as problem:
            return Answer(None, left=not _never_left(problem), fault=_name(problem))
        with response:
            answer = Answer(
                response.status_code,
                body=self._without_secrets(_read_object(response, deadline)),
                request_id=response.headers.get("x-pinterest-rid"),
                retry_after=_wait_named(response, time.time()),
                allowance=read_allowance(response.headers, time.time()),
            )
        self._answered_at = time.monotonic()
        return answer

    def _without_secrets(self, body: dict[str, Any]) -> dict[str, Any]:
        said = body.get("message")
        if not isinstance(said, str):
            return body
        for secret in sorted(filter(None, self.secrets), key=len, reverse=True):
            said = said.replace(secret, "[removed]")
        return body | {"message": said}

    def pages(self, path: str, **query: str) -> Iterator[Answer]:
        """The pages of a listing, one at a time until one fails."""
        bookmark: str | None = None
        while True:
            marked = {"bookmark": bookmark} if bookmark else {}
            answer = self.call("GET", path, query={"page_size": str(PAGE_SIZE)} | query | marked)
            yield answer
            bookmark = answer.body.get("bookmark")
            if not answer.ok or not bookmark:
                return


def _new_session(headers: Mapping[str, str]) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.headers.update({"Accept": "application/json", "User-Agent": "pinfold"})
    session.headers.update(headers)
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=0, pool_connections=1))
    return session


def _read_object(response: requests.Response, deadline: float) -> dict[str, Any]:
    """The reply's JSON object; empty when it is broken, too large, too late or no object."""
    parts: list[bytes] = []
    size = 0
    try:
        while part := response.raw.read1(1 << 14, decode_content=True):  # what is there by now
            parts.append(part)
            size += len(part)
            if size > LARGEST_REPLY or time.monotonic() > deadline:
                return {}
        reply = orjson.loads(b"".join(parts))
    except (requests.RequestException, urllib3.exceptions.HTTPError, orjson.JSONDecodeError):
        return {}
    return reply if isinstance(reply, dict) else {}


def _never_left(problem: requests.RequestException) -> bool:
    """True for failures that come before the first byte is sent (reliability, H5)."""
    if isinstance(problem, requests.ConnectTimeout):
        return True
    if isinstance(problem, requests.exceptions.SSLError):
        return bool(_HANDSHAKE_FAILED.search(str(problem)))  # others may come in mid-request
    reason = getattr(problem.args[0] if problem.args else None, "reason", None)
    return isinstance(
        reason,
        urllib3.exceptions.NewConnectionError
        | urllib3.exceptions.ConnectTimeoutError
        | urllib3.exceptions.NameResolutionError,
    )


def _name(problem: requests.RequestException) -> str:
    """The failure's kind in words; the driver's own text may repeat the address called."""
    if isinstance(problem, requests.Timeout):
        return "timed out"
    return f"connection failed ({type(problem).__name__})"


def _wait_named(response: requests.Response, now: float) -> float | None:
    """The seconds to wait by Retry-After or, at 429, the limit's reset; None when not readable."""
    names = (
        ("Retry-After", "x-ratelimit-reset") if response.status_code == 429 else ("Retry-After",)
    )
    for name in names:
        value = response.headers.get(name, "").strip()
        if value.isascii() and value.replace(".", "", 1).isdigit():
            seconds = float(value[:18])
            return seconds - now if seconds > now / 2 else seconds  # a moment, or a duration
        try:
            return parsedate_to_datetime(value).timestamp() - now
        except (TypeError, ValueError, OverflowError):
            continue
    return None
