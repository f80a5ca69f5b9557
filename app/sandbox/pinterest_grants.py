"""The token endpoint of the simulated Pinterest: POST /oauth/token (API facts section 5)."""

from typing import Any

from app.sandbox.pinterest_apps import App, Apps
from app.sandbox.pinterest_behaviour import Behaviour
from app.sandbox.pinterest_messages import bad_request
from app.sandbox.pinterest_tokens import Login, Tokens


class TokenEndpoint:
    """Gives tokens for a code, for a refresh token, or for the app itself."""

    def __init__(self, behaviour: Behaviour, apps: Apps, tokens: Tokens) -> None:
        self._behaviour, self._apps, self._tokens = behaviour, apps, tokens
        self._grants = {
            "authorization_code": self._by_code,
            "refresh_token": self._by_refresh,
            "client_credentials": self._by_app,
        }

    def exchange(self, authorization: str, form: dict[str, Any]) -> dict[str, Any]:
        """The reply to a form, or the `Refusal`, in Pinterest's form and not RFC 6749's."""
        app = self._apps.authenticate(authorization)
        grant_type = form.get("grant_type", "")
        if grant_type not in self._grants:
            raise bad_request("grant_type is not one of those allowed.")
        login, refresh_token = self._grants[grant_type](form, app)
        return self._reply(grant_type, login, refresh_token)

    def _by_code(self, form: dict[str, Any], app: App) -> tuple[Login, str | None]:
        code, redirect_uri = _required(form, "code"), _required(form, "redirect_uri")
        login = self._tokens.take_code(code, redirect_uri, app.id)
        return login, self._tokens.give_refresh(login)

    def _by_refresh(self, form: dict[str, Any], app: App) -> tuple[Login, str | None]:
        login, current = self._tokens.take_refresh(_required(form, "refresh_token"), app.id)
        return login, current if self._behaviour.return_refresh else None

    def _by_app(self, form: dict[str, Any], app: App) -> tuple[Login, str | None]:
        scopes = _required(form, "scope").replace(",", " ").split()
        return Login(tuple(scopes), app.id, owner_only=True), None

    def _reply(self, grant_type: str, login: Login, refresh_token: str | None) -> dict[str, Any]:
        behaviour = self._behaviour
        number = str if behaviour.expires_in_as_text else int
        reply = {
            "access_token": self._tokens.give_access(login),
            "token_type": "bearer",
            "expires_in": number(behaviour.access_token_seconds),
            "scope": behaviour.scope_separator.join(login.scopes),
            "response_type": grant_type,
        }
        if refresh_token is not None:
            reply["refresh_token"] = refresh_token
            reply["refresh_token_expires_in"] = behaviour.refresh_token_seconds
            reply["refresh_token_expires_at"] = int(login.refresh_tokens[refresh_token])
        return reply


def _required(form: dict[str, Any], name: str) -> str:
    value = form.get(name)
    if not value:
        raise bad_request(f"{name} is required.")
    return str(value)
