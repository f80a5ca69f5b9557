"""The login at Pinterest: the consent page's address, the grants, what a login may use.

OAuth 2.0 as in API facts, section 5: a code for tokens, a refresh token for new ones, both with the
app's id and secret as Basic authorization. Failures have Pinterest's own form, not RFC 6749's.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from app.logins import Tokens
from app.pinterest.outcomes import Answer
from app.pinterest.wire import Patience, Wire

SCOPES = ("ads:read", "ads:write")
ROLES = ("OWNER", "ADMIN", "AUDIENCE_MANAGER")
"""Any of them may change customer lists (API facts, section 5)."""


def roles_of(account: Mapping[str, Any]) -> list[str]:
    """The roles that a login has on an ad account, by Pinterest's object for it."""
    roles = account.get("permissions")
    return [str(role) for role in roles] if isinstance(roles, list) else []


def may_change_audiences(roles: list[str]) -> bool:
    """Owner, admin or audience manager; unknown roles are given the benefit of the doubt."""
    return not roles or not {*roles}.isdisjoint(ROLES)


def consent_address(consent_url: str, app_id: str, redirect_uri: str, state: str) -> str:
    """Where a person allows this app; Pinterest then sends the browser to ``redirect_uri``."""
    query = {
        "client_id": app_id,
        "redirect_uri": redirect_uri,
        "response_type": "code",
        "scope": ",".join(SCOPES),
        "state": state,
    }
    return f"{consent_url}?{urlencode(query)}"


class OAuthClient:
    """The token endpoint, and what a fresh token may use. Not shared between threads."""

    def __init__(self, base_url: str, app_id: str, app_secret: str, patience: Patience) -> None:
        basic = base64.b64encode(f"{app_id}:{app_secret}".encode()).decode()
        self._grant_headers = {
            "Authorization": f"Basic {basic}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        self._wire = Wire(base_url, patience, {}, {app_secret, basic})

    def close(self) -> None:
        self._wire.close()

    def exchange(self, code: str, redirect_uri: str) -> Answer:
        """Tokens for the code that the consent page gave; it is good once."""
        self._wire.secrets.add(code)
        return self._grant(
            grant_type="authorization_code",
            code=code,
            redirect_uri=redirect_uri,
            continuous_refresh="true",  # for apps made before 2025-09-25
        )

    def refresh(self, refresh_token: str) -> Answer:
        """New tokens for a refresh token, which may die by it."""
        self._wire.secrets.add(refresh_token)
        return self._grant(grant_type="refresh_token", refresh_token=refresh_token)

    def account_pages(self, token: str) -> Iterator[Answer]:
        """The ad accounts that a token may use, a page at a time until one fails."""
        self._wire.secrets.add(token)
        self._wire.session.headers["Authorization"] = f"Bearer {token}"
        return self._wire.pages("/ad_accounts")

    def _grant(self, **form: str) -> Answer:
        body = urlencode(form).encode()
        return self._wire.call("POST", "/oauth/token", body=body, headers=self._grant_headers)


def read_tokens(body: Mapping[str, Any], now: datetime) -> Tokens | None:
    """The tokens of a grant's reply; None when it has no access token.

    Lifetimes count from ``now``, the database's clock, so a local clock that is wrong does no harm.
    They may come as text; scopes stand between commas or blanks (API facts, section 5).
    """
    access = body.get("access_token")
    if not isinstance(access, str) or not re.fullmatch(r"[\x21-\x7e]+", access):
        return None
    refresh, scopes = body.get("refresh_token"), body.get("scope")
    return Tokens(
        access=access,
        access_expires_at=_after(now, body.get("expires_in")),
        refresh=refresh if isinstance(refresh, str) and refresh else None,
        refresh_expires_at=_after(now, body.get("refresh_token_expires_in")),
        scopes=" ".join(scopes.replace(",", " ").split()) if isinstance(scopes, str) else None,
    )


def _after(now: datetime, seconds: object) -> datetime | None:
    try:
        return now + timedelta(seconds=float(str(seconds)))
    except (ValueError, OverflowError):
        return None
