"""Access: who calls, told in constant time, and what that caller may do.

`/v1` takes an API token, a source its secret: ``Authorization: Bearer SECRET`` (or ``Token SECRET``
as mParticle sends it, or the password of ``Basic``). What was read from the database is kept for
some seconds, so a revoked secret is refused within ``KEPT_S``.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from fastapi import Request, Security
from fastapi.security import HTTPBearer

from app.api.problems import Refusal
from app.api_tokens import ApiToken, read_tokens
from app.deployment import Deployment
from app.doors import Door, read_doors
from app.errors import Unavailable
from app.sources import digest_of

DOCUMENTED = [Security(HTTPBearer(auto_error=False, description="An API token, or a secret."))]
"""For the OpenAPI document; who is let in is told here."""
KEPT_S = 5.0
"""How long what was read of tokens and secrets is believed."""
NEWS_S = 0.2
"""How old it may be where something is not in it: the token may have been made just now. More often
nobody is looked up, so that guessing costs the database nothing."""
Found = TypeVar("Found")


class Known(NamedTuple):
    """Everybody who may be let in, as the database had it a moment ago."""

    tokens: Mapping[bytes, ApiToken]
    """By their digests."""
    doors: Mapping[str, Door]
    """By the names of their sources."""


class Access:
    """Every way to be let in, over one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._known = Known({}, {})
        self._read_at = self._failed_at = -math.inf
        self._reading = asyncio.Lock()

    async def token_of(self, request: Request, permission: str) -> ApiToken:
        """The caller's token. Raises Refusal: 401 for an unknown one, 403 for one that may not."""
        digest = digest_of(presented(request) or "")
        token = await self._find(lambda known: known.tokens.get(digest))
        if token is None:
            raise unauthorised("an API token: Authorization: Bearer TOKEN (pinfold token add)")
        if not token.allows(permission):
            raise Refusal(403, f"token {token.name} may {token.permission}, not {permission}")
        return token

    async def door_of(self, request: Request, name: str) -> Door | None:
        """A source's door, read anew where the request shows what does not open it."""

        def opened(known: Known) -> Door | None:
            door = known.doors.get(name)
            return door if presented(request) is None or shows_secret(request, door) else None

        door = await self._find(opened)
        return door or self._known.doors.get(name)

    async def _find(self, look: Callable[[Known], Found | None]) -> Found | None:
        found = look(await self._known_within(KEPT_S))
        return look(await self._known_within(NEWS_S)) if found is None else found

    async def _known_within(self, seconds: float) -> Known:
        """Everybody, as of so many seconds ago at most."""
        if time.monotonic() - self._read_at > seconds:
            asked = time.monotonic()
            async with self._reading:
                if self._failed_at > asked:  # while this one waited: no need to try it again
                    raise Unavailable("who may be let in cannot be read")
                if time.monotonic() - self._read_at > seconds:
                    await self._read_anew()
        return self._known

    async def _read_anew(self) -> None:
        began = time.monotonic()
        try:
            self._known = await asyncio.to_thread(_read, self._deployment)
        except Unavailable:
            self._failed_at = time.monotonic()
            raise
        self._read_at = began


def _read(deployment: Deployment) -> Known:
    return Known(read_tokens(deployment), read_doors(deployment))


def shows_secret(request: Request, door: Door | None) -> bool:
    """Whether the request shows a live secret of the source; takes as long for none."""
    digest = digest_of(presented(request) or "")
    digests = door.digests if door else (bytes(32),)
    return sum(hmac.compare_digest(digest, each) for each in digests) > 0 and door is not None


def presented(request: Request) -> str | None:
    """What the caller shows in its Authorization header."""
    scheme, _, shown = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() in ("bearer", "token"):
        return shown.strip() or None
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(shown, validate=True).decode().partition(":")[2] or None
        except ValueError:  # not base64, not ASCII, not UTF-8
            return None
    return None


def unauthorised(wanted: str) -> Refusal:
    return Refusal(401, f"this address wants {wanted}", {"WWW-Authenticate": "Bearer"})
