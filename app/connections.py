"""Connections: authorised Pinterest ad accounts, their tokens and their settings."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from app.database import transaction
from app.deployment import Deployment
from app.errors import ConfigError, NotFound, Refused
from app.lease import NOW
from app.lists import RESUMED, ensure_lists, forget_pauses
from app.logins import Tokens, in_words, read_login, store_login
from app.pinterest.client import PinterestClient
from app.pinterest.wire import Patience
from app.settings import check_chain
from app.tables import (
    audience,
    batch,
    connection,
    customer_list,
    held_chunk,
    login,
    staged_chunk,
)

SWITCHES = ("forward_email", "forward_device_id", "forward_other_digests", "create_on_activation")
NUMBERS = (
    "flush_messages",
    "flush_age",
    "record_cap",
    "records_per_request",
    "writes_per_minute",
    "removal_reserve",
)


def read_token(text: str) -> str:
    """A bearer token from a file's text. Raises ConfigError when it cannot be one."""
    token = text.strip()
    if not token:
        raise ConfigError("the token file is empty: put the access token into it, on one line")
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ConfigError("the token file must hold one token on one line, without blanks")
    return token


def add_connection(
    deployment: Deployment, name: str, ad_account_id: str, tokens: Tokens | str, **settings: Any
) -> int:
    """Store a new connection with its tokens sealed; returns its id.

    Raises Refused when the name is taken, ConfigError for an account id that cannot be one.
    """
    if not name.strip():
        raise ConfigError("a connection needs a name")
    if not re.fullmatch(r"\d{1,18}", ad_account_id):
        raise ConfigError(
            "an ad account id is up to 18 digits, as in the Ads Manager's address bar"
        )
    _check(deployment, settings)
    try:
        with transaction(deployment.engine) as tx:
            connection_id: int = tx.execute(
                sa.insert(connection)
                .values(name=name, ad_account_id=ad_account_id, **_recovery_noted(), **settings)
                .returning(connection.c.id)
            ).scalar_one()
            tokens = Tokens(tokens) if isinstance(tokens, str) else tokens
            store_login(tx, deployment.keyring, connection_id, tokens)
    except IntegrityError:
        raise Refused(
            f"connection {name} exists; `pinfold connection settings {name}` changes it, "
            f"`pinfold connection replace-login {name}` logs in anew"
        ) from None
    return connection_id


def _recovery_noted() -> dict[str, Any]:
    """What `recover` noted with the other connections, for one that may have been lost itself.

    Made since the backup, it is made again now; its lists stand, and are to be looked for first.
    """
    return {
        "backup_taken_at": sa.select(sa.func.min(connection.c.backup_taken_at)).scalar_subquery(),
        "restored_at": sa.select(sa.func.max(connection.c.restored_at)).scalar_subquery(),
    }


def replace_token(deployment: Deployment, name: str, token: str) -> None:
    """Swap the token; a connection that was held goes on with it."""
    row = find_connection(deployment, name)
    with transaction(deployment.engine) as tx:
        store_login(tx, deployment.keyring, row.id, Tokens(token))
        resume_connection(tx, row.id)


def change_settings(deployment: Deployment, name: str, **settings: Any) -> list[str]:
    """Change a connection's settings; returns what people should know about the effect.

    A kind switched on gets its lists at once; changes that came meanwhile were skipped.
    """
    row = find_connection(deployment, name)
    _check(deployment, settings)
    with transaction(deployment.engine) as tx:
        tx.execute(sa.update(connection).where(connection.c.id == row.id).values(**settings))
        for audience_id in tx.execute(
            sa.select(audience.c.id).where(
                audience.c.connection_id == row.id, audience.c.state != "deactivated"
            )
        ).scalars():
            list_ids = ensure_lists(tx, audience_id)
            forget_pauses(tx, customer_list.c.id.in_(list_ids))
    return [note for switch in SWITCHES[:2] for note in _effect(row, settings, switch)]


def _effect(row: sa.Row[Any], settings: dict[str, Any], switch: str) -> list[str]:
    wanted = settings.get(switch)
    if wanted is None or wanted == getattr(row, switch):
        return []
    kind = "emails" if switch == "forward_email" else "device ids"
    if wanted:
        return [f"{kind} are forwarded from now on; changes that came while off were skipped"]
    return [f"{kind} are no longer forwarded; what waits of them is booked as not forwarded"]


def _check(deployment: Deployment, settings: dict[str, Any]) -> None:
    for name in NUMBERS:
        value = settings.get(name)
        least = 0 if name in ("record_cap", "removal_reserve") else 1
        if value is not None and name != "flush_age" and value < least:
            raise ConfigError(f"{name} must be at least {least}")
    for name in ("record_cap", "removal_reserve"):
        if (settings.get(name) or 0) > 300_000_000:
            raise ConfigError(f"{name} must be at most 300,000,000")
    if settings.get("flush_age") is not None:
        try:
            check_chain(deployment.settings, settings["flush_age"])
        except ValueError as problem:
            raise ConfigError(str(problem)) from None


def find_connection(deployment: Deployment, name: str | None) -> sa.Row[Any]:
    """A connection by name; the only one when no name is given. Raises NotFound."""
    with transaction(deployment.engine) as tx:
        rows = tx.execute(_standing()).all()
    if not rows:
        raise NotFound("there is no connection yet: `pinfold connect NAME`")
    named = [row for row in rows if name is None or row.name == name]
    if len(named) == 1:
        return named[0]
    known = ", ".join(row.name for row in rows)
    if name is None:
        raise NotFound(f"there are several connections, name one with --connection: {known}")
    raise NotFound(f"there is no such connection; there are: {known}")


def list_connections(deployment: Deployment) -> list[sa.Row[Any]]:
    with transaction(deployment.engine) as tx:
        return list(tx.execute(_standing()))


def _standing() -> sa.Select[Any]:
    return (
        sa.select(connection).where(connection.c.removed_at.is_(None)).order_by(connection.c.name)
    )


def describe(deployment: Deployment, row: sa.Row[Any]) -> dict[str, Any]:
    """What is to be told of a connection and its login; no token is in it."""
    with transaction(deployment.engine) as tx:
        tokens = read_login(tx, deployment.keyring, row.id)
        now = tx.execute(sa.select(NOW)).scalar_one()
    return {
        "name": row.name,
        "ad_account_id": row.ad_account_id,
        "login": in_words(tokens, now),
        "login_obtained_at": tokens.obtained_at,
        "access_token_until": tokens.access_expires_at,
        "refresh_token_until": tokens.refresh_expires_at if tokens.refresh else None,
        "scopes": tokens.scopes,
        "renewal_problem": tokens.problem,
        "held_reason": row.held_reason,
        "held_message": row.held_message,
        **{name: getattr(row, name) for name in SWITCHES},
    }


def remove_connection(deployment: Deployment, name: str) -> None:
    """Forget a connection's login; its books stay, and nothing is deleted at Pinterest.

    Raises Refused while an audience of it is not deactivated, or has something to be booked.
    """
    row = find_connection(deployment, name)
    with transaction(deployment.engine) as tx:
        lock = sa.select(connection.c.id).where(connection.c.id == row.id).with_for_update()
        tx.execute(lock)
        mine = sa.select(audience.c.id).where(audience.c.connection_id == row.id)
        open_names = tx.execute(
            sa.select(audience.c.name)
            .where(audience.c.connection_id == row.id, audience.c.state != "deactivated")
            .order_by(audience.c.name)
        ).scalars()
        if names := list(open_names):
            raise Refused(
                f"connection {name} still forwards {', '.join(names)}: "
                "pinfold audience deactivate NAME, for each"
            )
        lists = sa.select(customer_list.c.id).where(customer_list.c.audience_id.in_(mine))
        unsettled = sa.or_(
            sa.exists().where(staged_chunk.c.audience_id.in_(mine)),
            sa.exists().where(held_chunk.c.audience_id.in_(mine)),
            sa.exists().where(batch.c.customer_list_id.in_(lists), batch.c.state == "waiting"),
        )
        if tx.execute(sa.select(unsettled)).scalar():
            raise Refused(
                f"connection {name} has something to be booked yet: workers do so within a "
                "minute (pinfold books shows it), then remove it again"
            )
        tx.execute(sa.update(customer_list).where(customer_list.c.id.in_(lists)).values(**RESUMED))
        resume_connection(tx, row.id)
        tx.execute(sa.delete(login).where(login.c.id == row.id))
        tx.execute(
            sa.update(connection)
            .where(connection.c.id == row.id)
            .values(removed_at=sa.func.clock_timestamp())
        )


def hold_connection(
    tx: sa.Connection, connection_id: int, reason: str, message: str, version: int | None = None
) -> None:
    """Stop everything of a connection until a person, a new token or a canary resumes it.

    ``version``: of the login that met the reason; nothing is held when it was replaced since.
    """
    same: sa.ColumnElement[bool] = sa.true()
    if version is not None:
        same = sa.exists().where(login.c.id == connection_id, login.c.version == version)
    tx.execute(
        sa.update(connection)
        .where(connection.c.id == connection_id, connection.c.held_reason.is_(None), same)
        .values(held_reason=reason, held_message=message, held_at=sa.func.clock_timestamp())
    )


def resume_connection(tx: sa.Connection, connection_id: int) -> None:
    tx.execute(
        sa.update(connection)
        .where(connection.c.id == connection_id)
        .values(held_reason=None, held_message=None, held_at=None, not_before=None)
    )


def open_client(deployment: Deployment, tx: sa.Connection, row: sa.Row[Any]) -> PinterestClient:
    """A client that speaks for a connection. Raises ConfigError when its token cannot be opened."""
    s = deployment.settings
    tokens = read_login(tx, deployment.keyring, row.id)
    return PinterestClient(
        s.pinterest_url, row.ad_account_id, tokens.access, Patience.of(s), tokens.version
    )
