"""Tokens of the simulated Pinterest: who may call, and the token endpoint (API facts section 5)."""

import base64
import binascii
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from app.sandbox.pinterest_behaviour import ALL_SCOPES, Behaviour
from app.sandbox.pinterest_messages import Refusal, Route, bad_request

TokenState = Literal["valid", "expired", "revoked", "restricted"]
_STATES = ("valid", "expired", "revoked", "restricted")
_CODE_SECONDS = 600


@dataclass(slots=True)
class Grant:
    """What one authorisation gave: its scopes and the refresh tokens that still work."""

    scopes: tuple[str, ...]
    refresh_tokens: dict[str, float] = field(default_factory=dict)
    """Refresh token -> when it expires."""
    owner_only: bool = False


@dataclass(slots=True)
class AccessToken:
    grant: Grant
    expires_at: float
    state: TokenState = "valid"


class Tokens:
    """Access tokens, refresh tokens and authorisation codes. Thread-safe."""

    def __init__(self, behaviour: Behaviour, tokens: Iterable[str]) -> None:
        self._behaviour = behaviour
        self._lock = threading.Lock()
        self._access: dict[str, AccessToken] = {}
        self._refresh: dict[str, Grant] = {}
        self._codes: dict[str, tuple[Grant, str | None, float]] = {}
        for token in tokens:
            grant = Grant(tuple(behaviour.scopes.get(token, ALL_SCOPES)))
            self._access[token] = AccessToken(grant, float("inf"))
            if token.startswith("pina_"):
                self._give_refresh(grant, "pinr_" + token.removeprefix("pina_"))

    def admit(self, token: str, route: Route) -> None:
        """Let a call in, or raise the `Refusal` that Pinterest would answer."""
        with self._lock:
            access = self._access.get(token)
            if access is None or access.state in ("expired", "revoked"):
                raise _unauthenticated()
            if access.expires_at <= self._behaviour.clock():
                raise _unauthenticated()
            if route.scope is not None and route.scope not in access.grant.scopes:
                raise Refusal(401, 3, f"Your token lacks the scope {route.scope}.")
            if access.grant.owner_only and not route.client_credentials:
                raise Refusal(403, 29, "A client_credentials token may not do this.")
            if access.state == "restricted":
                raise Refusal(403, 29, "You are not permitted to access that resource.")

    def set_state(self, token: str, state: TokenState, scopes: Iterable[str] | None = None) -> None:
        """Change an access token, making it if need be; `revoked` kills its refresh tokens too."""
        if state not in _STATES:
            raise ValueError(f"unknown token state: {state}")
        with self._lock:
            access = self._access.setdefault(token, AccessToken(Grant(ALL_SCOPES), float("inf")))
            access.state = state
            if scopes is not None:
                access.grant.scopes = tuple(scopes)
            if state == "revoked":
                access.grant.refresh_tokens.clear()

    def add_code(
        self, code: str, redirect_uri: str | None = None, scopes: Iterable[str] = ALL_SCOPES
    ) -> None:
        """As if a person had agreed in the browser. Good once, for ten minutes."""
        expires_at = self._behaviour.clock() + _CODE_SECONDS
        with self._lock:
            self._codes[code] = Grant(tuple(scopes)), redirect_uri, expires_at

    def add_refresh_token(self, refresh_token: str, scopes: Iterable[str] = ALL_SCOPES) -> None:
        """A refresh token from an earlier authorisation."""
        with self._lock:
            self._give_refresh(Grant(tuple(scopes)), refresh_token)

    def exchange(self, authorization: str, form: dict[str, Any]) -> dict[str, Any]:
        """The token endpoint: POST /oauth/token."""
        self._check_app(authorization)
        grants = {
            "authorization_code": self._by_code,
            "refresh_token": self._by_refresh,
            "client_credentials": self._by_app,
        }
        grant_type = form.get("grant_type", "")
        if grant_type not in grants:
            raise bad_request("grant_type is not one of those allowed.")
        with self._lock:
            grant, refresh_token = grants[grant_type](form)
            return self._issue(grant_type, grant, refresh_token)

    def _check_app(self, authorization: str) -> None:
        scheme, _, encoded = authorization.partition(" ")
        expected = f"{self._behaviour.app_id}:{self._behaviour.app_secret}"
        try:
            given = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            given = ""
        if scheme.lower() != "basic" or given != expected:
            raise _unauthenticated()

    def _by_code(self, form: dict[str, Any]) -> tuple[Grant, str | None]:
        code, redirect_uri = _required(form, "code"), _required(form, "redirect_uri")
        grant, registered, expires_at = self._codes.pop(code, (None, None, 0.0))
        if grant is None or expires_at <= self._behaviour.clock():
            raise _unauthenticated()
        if registered not in (None, redirect_uri):
            raise _unauthenticated()
        return grant, self._give_refresh(grant)

    def _by_refresh(self, form: dict[str, Any]) -> tuple[Grant, str | None]:
        old = _required(form, "refresh_token")
        grant = self._refresh.get(old)
        if grant is None or grant.refresh_tokens.get(old, 0.0) <= self._behaviour.clock():
            raise Refusal(self._behaviour.dead_refresh_status, 2, "The refresh token is not valid.")
        current = old
        if self._behaviour.rotate_refresh:
            if self._behaviour.old_refresh_dies:
                del grant.refresh_tokens[old]
            current = self._give_refresh(grant)
        return grant, current if self._behaviour.return_refresh else None

    def _by_app(self, form: dict[str, Any]) -> tuple[Grant, str | None]:
        scopes = _required(form, "scope").replace(",", " ").split()
        return Grant(tuple(scopes), owner_only=True), None

    def _give_refresh(self, grant: Grant, token: str | None = None) -> str:
        token = token or "pinr_" + secrets.token_hex(16)
        expires_at = self._behaviour.clock() + self._behaviour.refresh_token_seconds
        grant.refresh_tokens[token] = expires_at
        self._refresh[token] = grant
        return token

    def _issue(self, grant_type: str, grant: Grant, refresh_token: str | None) -> dict[str, Any]:
        now, behaviour = self._behaviour.clock(), self._behaviour
        access_token = "pina_" + secrets.token_hex(16)
        self._access[access_token] = AccessToken(grant, now + behaviour.access_token_seconds)
        reply = {
            "access_token": access_token,
            "token_type": "bearer",
            "expires_in": behaviour.access_token_seconds,
            "scope": " ".join(grant.scopes),
            "response_type": grant_type,
        }
        if refresh_token is not None:
            reply["refresh_token"] = refresh_token
            reply["refresh_token_expires_in"] = behaviour.refresh_token_seconds
            reply["refresh_token_expires_at"] = int(grant.refresh_tokens[refresh_token])
        return reply


def _unauthenticated() -> Refusal:
    return Refusal(401, 2, "Authentication failed.")


def _required(form: dict[str, Any], name: str) -> str:
    value = form.get(name)
    if not value:
        raise bad_request(f"{name} is required.")
    return str(value)
