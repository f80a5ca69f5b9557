"""Connecting: from a consent at Pinterest to a stored login, checked before anything is kept."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.connections import add_connection, find_connection, resume_connection
from app.database import transaction
from app.deployment import Deployment
from app.errors import Refused, Unavailable
from app.lease import NOW
from app.logins import Tokens, store_login
from app.pinterest.oauth import (
    SCOPES,
    OAuthClient,
    consent_address,
    may_change_audiences,
    read_tokens,
    roles_of,
)
from app.pinterest.outcomes import Answer
from app.pinterest.wire import Patience


class AdAccount(NamedTuple):
    """An ad account that a login may see."""

    id: str
    name: str
    roles: list[str]

    @property
    def may_write(self) -> bool:
        return may_change_audiences(self.roles)


@dataclass(frozen=True)
class Consent:
    """One login on its way: where the person goes, and what the answer must carry."""

    address: str = field(repr=False)
    redirect_uri: str
    state: str = field(repr=False)


def begin(deployment: Deployment, port: int) -> Consent:
    """A fresh consent. Raises ConfigError when no Pinterest app is set."""
    app_id, _ = deployment.settings.require_app()
    state = secrets.token_urlsafe(32)
    redirect_uri = f"http://localhost:{port}/"  # registered exactly so with the app
    consent_url = deployment.settings.consent_url
    return Consent(consent_address(consent_url, app_id, redirect_uri, state), redirect_uri, state)


def redeem(deployment: Deployment, consent: Consent, code: str) -> Tokens:
    """The tokens for a code. Raises Refused when Pinterest refuses it or a scope is missing."""
    client = _client(deployment)
    try:
        answer = client.exchange(code, consent.redirect_uri)
    finally:
        client.close()
    _require_ok(answer, "the code, or the app's id and secret (PINFOLD_APP_ID, PINFOLD_APP_SECRET)")
    with transaction(deployment.engine) as tx:
        now: datetime = tx.execute(sa.select(NOW)).scalar_one()
    tokens = read_tokens(answer.body, now)
    if tokens is None:
        raise Refused("Pinterest's reply holds no access token; nothing was stored, try again")
    missing = {*SCOPES} - {*(tokens.scopes or " ".join(SCOPES)).split()}
    if missing:
        raise Refused(
            f"the login lacks the scope {', '.join(sorted(missing))}: allow all that is asked "
            "for, and see that your Pinterest app may ask for it; nothing was stored"
        )
    return tokens


def ad_accounts(deployment: Deployment, tokens: Tokens) -> list[AdAccount]:
    """Every ad account that the login may see. Raises Refused when there is none."""
    client = _client(deployment)
    try:
        found = list(_accounts(client.account_pages(tokens.access)))
    finally:
        client.close()
    if not found:
        raise Refused(
            "this login reaches no ad account: log in as a person with a role in your Pinterest "
            "business, or open an ad account there; nothing was stored"
        )
    return found


def only_usable(accounts: list[AdAccount]) -> AdAccount | None:
    """The account, where the login may change audiences of one alone; None where of several.

    Raises Refused where of none.
    """
    usable = [account for account in accounts if account.may_write]
    if not usable:
        raise Refused(_no_role(accounts[0]))
    return usable[0] if len(usable) == 1 else None


def account_named(accounts: list[AdAccount], account_id: str) -> AdAccount:
    """Raises Refused for an account that the login does not reach or may not change."""
    for account in accounts:
        if account.id == account_id:
            if not account.may_write:
                raise Refused(_no_role(account))
            return account
    known = ", ".join(f"{account.id} ({account.name})" for account in accounts)
    raise Refused(f"this login does not reach ad account {account_id}; it reaches {known}")


def connect(deployment: Deployment, name: str, account: AdAccount, tokens: Tokens) -> int:
    """Store a new connection with its login. Raises Refused when the name is taken."""
    return add_connection(deployment, name, account.id, tokens)


def replace_login(deployment: Deployment, name: str, tokens: Tokens) -> None:
    """Swap the login of a connection for one that reaches the same ad account.

    What is under way ends with the old tokens; what was held goes on. Raises Refused, and changes
    nothing, when the new login does not reach the account.
    """
    row = find_connection(deployment, name)
    account_named(ad_accounts(deployment, tokens), row.ad_account_id)
    with transaction(deployment.engine) as tx:
        store_login(tx, deployment.keyring, row.id, tokens)
        resume_connection(tx, row.id)


def _client(deployment: Deployment) -> OAuthClient:
    s = deployment.settings
    return OAuthClient(s.pinterest_url, *s.require_app(), Patience.of(s))


def _accounts(pages: Iterator[Answer]) -> Iterator[AdAccount]:
    for answer in pages:
        _require_ok(answer, "the list of ad accounts")
        items: Any = answer.body.get("items")
        for item in items if isinstance(items, list) else []:
            if isinstance(item, dict) and str(item.get("id", "")).isdigit():
                name = str(item.get("name") or "without a name")
                yield AdAccount(str(item["id"]), name, roles_of(item))


def _require_ok(answer: Answer, what: str) -> None:
    if answer.status is None:
        raise Unavailable(f"Pinterest cannot be reached: {answer.message}; nothing was stored")
    if not answer.ok:
        raise Refused(
            f"Pinterest answers {answer.status} to {what}: {answer.message}; nothing was stored"
        )


def _no_role(account: AdAccount) -> str:
    return (
        f"this login may not change audiences of ad account {account.id} ({account.name}): it is "
        f"{', '.join(account.roles).lower()} there, and needs to be owner, admin or audience "
        "manager; your Pinterest admin gives roles; nothing was stored"
    )
