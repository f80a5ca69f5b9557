"""Tokens of the simulated Pinterest: which exist, who may call with them (API facts section 5)."""

import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from app.sandbox.pinterest_behaviour import ALL_SCOPES, DEFAULT_PERSON, Behaviour
from app.sandbox.pinterest_messages import Refusal, Route, unauthenticated

TokenState = Literal["valid", "expired", "revoked", "restricted"]
_STATES = ("valid", "expired", "revoked", "restricted")


@dataclass(slots=True)
class Login:
    """What one authorisation gave: a person's leave for an app, and the refresh tokens alive."""

    scopes: tuple[str, ...]
    app_id: str
    person: str = DEFAULT_PERSON
    refresh_tokens: dict[str, float] = field(default_factory=dict)
    """Refresh token -> when it expires."""
    owner_only: bool = False
    """From the client_credentials grant."""


@dataclass(slots=True)
class AccessToken:
    login: Login
    expires_at: float
    state: TokenState = "valid"


class Tokens:
    """Access tokens, refresh tokens and authorisation codes. Thread-safe.

    Where a token may be named, None means every one there is. What tests add by themselves comes
    from a login through the app `app_id`.
    """

    def __init__(self, behaviour: Behaviour, app_id: str, tokens: Iterable[str]) -> None:
        self._behaviour, self._app_id = behaviour, app_id
        self._lock = threading.Lock()
        self._access: dict[str, AccessToken] = {}
        self._refresh: dict[str, Login] = {}
        self._codes: dict[str, tuple[Login, str | None, float]] = {}
        for token in tokens:
            login = Login(tuple(behaviour.scopes.get(token, ALL_SCOPES)), app_id)
            self._access[token] = AccessToken(login, float("inf"))
            if token.startswith("pina_"):
                self._keep_refresh(login, "pinr_" + token.removeprefix("pina_"))

    # What tests read and change.

    def issued(self) -> list[dict[str, Any]]:
        """Every access token in the order given out, with its login's living refresh tokens."""
        with self._lock:
            return [
                {
                    "token": token,
                    "state": self._state(access),
                    "expires_at": access.expires_at if access.expires_at < float("inf") else None,
                    "scopes": list(access.login.scopes),
                    "person": access.login.person,
                    "app_id": access.login.app_id,
                    "refresh_tokens": self._living(access.login),
                }
                for token, access in self._access.items()
            ]

    def set_state(
        self,
        token: str,
        state: TokenState,
        scopes: Iterable[str] | None = None,
        person: str = DEFAULT_PERSON,
    ) -> None:
        """Change an access token, making it if need be, then as a login of `person`.

        `revoked` ends the whole login, its refresh tokens included. `scopes` hold for the whole
        login too, so a refresh keeps them.
        """
        if state not in _STATES:
            raise ValueError(f"unknown token state: {state}")
        with self._lock:
            access = self._access.setdefault(
                token, AccessToken(Login(ALL_SCOPES, self._app_id, person), float("inf"))
            )
            access.state = state
            if scopes is not None:
                access.login.scopes = tuple(scopes)
            if state == "revoked":
                self._end(access.login)

    def expire(self, token: str | None = None) -> None:
        """Let an access token be past its time; its refresh token lives on."""
        with self._lock:
            for access in self._named(token):
                access.state = "expired"

    def revoke(self, token: str | None = None) -> None:
        """End the login of an access token, as if the person had removed the app."""
        with self._lock:
            for access in self._named(token):
                self._end(access.login)

    def revoke_refresh(self, refresh_token: str | None = None) -> None:
        """Kill a refresh token; access tokens work until they expire."""
        with self._lock:
            named = list(self._refresh) if refresh_token is None else [refresh_token]
            for each in named:
                self._refresh[each].refresh_tokens.pop(each, None)

    def add_code(
        self,
        code: str,
        redirect_uri: str | None = None,
        scopes: Iterable[str] = ALL_SCOPES,
        app_id: str | None = None,
        person: str = DEFAULT_PERSON,
    ) -> None:
        """As if a person had agreed in the browser; without `redirect_uri` any will do."""
        expires_at = self._behaviour.clock() + self._behaviour.code_seconds
        with self._lock:
            login = Login(tuple(scopes), app_id or self._app_id, person)
            self._codes[code] = login, redirect_uri, expires_at

    def add_refresh_token(self, refresh_token: str, scopes: Iterable[str] = ALL_SCOPES) -> None:
        """A refresh token from an earlier authorisation."""
        with self._lock:
            self._keep_refresh(Login(tuple(scopes), self._app_id), refresh_token)

    # What the server does.

    def admit(self, token: str, route: Route) -> Login:
        """Whose call it is, or the `Refusal` that Pinterest would answer."""
        with self._lock:
            access = self._access.get(token)
            if access is None or self._state(access) in ("expired", "revoked"):
                raise unauthenticated()
            if route.scope is not None and route.scope not in access.login.scopes:
                raise Refusal(401, 3, f"Your token lacks the scope {route.scope}.")
            if access.login.owner_only and not route.client_credentials:
                raise Refusal(403, 29, "A client_credentials token may not do this.")
            if access.state == "restricted":
                raise Refusal(403, 29, "You are not permitted to access that resource.")
            return access.login

    def take_code(self, code: str, redirect_uri: str, app_id: str) -> Login:
        """The login behind a code, which is used up by the attempt; else the `Refusal`."""
        with self._lock:
            login, registered, expires_at = self._codes.pop(code, (None, None, 0.0))
        if login is None or expires_at <= self._behaviour.clock() or login.app_id != app_id:
            raise unauthenticated()
        if registered not in (None, redirect_uri):
            raise unauthenticated()
        return login

    def take_refresh(self, refresh_token: str, app_id: str) -> tuple[Login, str]:
        """The login of a refresh token and the one to use from now on; else the `Refusal`."""
        behaviour = self._behaviour
        with self._lock:
            login = self._refresh.get(refresh_token)
            if login is None or login.app_id != app_id or refresh_token not in self._living(login):
                message = "The refresh token is not valid."
                raise Refusal(behaviour.dead_refresh_status, 2, message)
            if not behaviour.rotate_refresh:  # renewable without end: a use begins its life anew
                return login, self._keep_refresh(login, refresh_token)
            if behaviour.old_refresh_dies:
                del login.refresh_tokens[refresh_token]
            return login, self._keep_refresh(login)

    def give_access(self, login: Login) -> str:
        """A new access token; earlier ones work on until their own time."""
        token = "pina_" + secrets.token_hex(16)
        expires_at = self._behaviour.clock() + self._behaviour.access_token_seconds
        with self._lock:
            self._access[token] = AccessToken(login, expires_at)
        return token

    def give_refresh(self, login: Login) -> str:
        with self._lock:
            return self._keep_refresh(login)

    # Under the lock.

    def _state(self, access: AccessToken) -> TokenState:
        past = access.state == "valid" and access.expires_at <= self._behaviour.clock()
        return "expired" if past else access.state

    def _named(self, token: str | None) -> list[AccessToken]:
        return list(self._access.values()) if token is None else [self._access[token]]

    def _living(self, login: Login) -> dict[str, float]:
        now = self._behaviour.clock()
        return {token: ends for token, ends in login.refresh_tokens.items() if ends > now}

    def _end(self, login: Login) -> None:
        login.refresh_tokens.clear()
        for access in self._access.values():
            if access.login is login:
                access.state = "revoked"

    def _keep_refresh(self, login: Login, token: str | None = None) -> str:
        token = token or "pinr_" + secrets.token_hex(16)
        expires_at = self._behaviour.clock() + self._behaviour.refresh_token_seconds
        login.refresh_tokens[token] = expires_at
        self._refresh[token] = login
        return token
