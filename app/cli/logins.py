"""``pinfold connect`` and ``pinfold connection replace-login``: logging in at Pinterest."""

from __future__ import annotations

import sys
import webbrowser
from typing import Annotated

import typer

from app import connecting, connections
from app.callback import Callback, read_answer
from app.cli.outside import Outside
from app.cli.terminal import say, show, table
from app.connecting import AdAccount
from app.errors import ConfigError, NotFound, Refused
from app.logins import Tokens

LOGIN_SECONDS = 600.0
"""How long a person has for the consent page; the code that follows dies in about as long."""

Name = Annotated[str, typer.Argument(help="Your name for the connection.")]
AdAccountId = Annotated[
    str | None, typer.Option("--ad-account", help="Its id, instead of choosing from a list.")
]
Browser = Annotated[
    bool,
    typer.Option("--browser/--no-browser", help="Open the browser here, or paste the answer."),
]
Port = Annotated[
    int | None,
    typer.Option("--port", min=1, max=65_535, help="Of http://localhost:PORT/, as registered."),
]


def register(root: typer.Typer) -> None:
    root.command("connect")(connect)


def connect(
    ctx: typer.Context,
    name: Name,
    ad_account: AdAccountId = None,
    browser: Browser = True,
    port: Port = None,
) -> None:
    """Log in at Pinterest once and store the connection; the login then stays alive by itself.

    The address http://localhost:PORT/ has to be registered with your Pinterest app as a redirect
    link, exactly so. On a machine without a browser: --no-browser.

    Example: pinfold connect main --ad-account 549770573673
    """
    outside: Outside = ctx.obj
    _refuse_taken(outside, name)
    tokens = log_in(outside, browser=browser, port=port)
    accounts = connecting.ad_accounts(outside.deployment, tokens)
    account = _chosen(accounts, ad_account)
    connecting.connect(outside.deployment, name, account, tokens)
    say(f"connection {name} stands: ad account {account.id} ({account.name}), {_kept(tokens)}")
    say("now: pinfold audience activate NAME --id UPSTREAM_ID")


def replace_login(
    ctx: typer.Context, name: Name, browser: Browser = True, port: Port = None
) -> None:
    """Log in anew, for example after the person left. It must reach the same ad account.

    Nothing under way breaks, and what was held for the old login goes on.

    Example: pinfold connection replace-login main
    """
    outside: Outside = ctx.obj
    connections.find_connection(outside.deployment, name)
    tokens = log_in(outside, browser=browser, port=port)
    connecting.replace_login(outside.deployment, name, tokens)
    say(f"connection {name} has its new login, {_kept(tokens)}; what waited goes on within seconds")


def log_in(outside: Outside, *, browser: bool, port: int | None) -> Tokens:
    """Send a person to the consent page and come back with tokens; nothing is stored yet."""
    port = port or outside.settings.callback_port
    consent = connecting.begin(outside.deployment, port)
    if browser:
        with Callback(port, consent.state) as callback:
            opened = webbrowser.open(consent.address)
            say("allow Pinfold in the browser" if opened else "no browser opens here; in one, open")
            say(f"  {consent.address}")
            say(f"waiting for {consent.redirect_uri}, up to {LOGIN_SECONDS / 60:.0f} minutes ...")
            code = callback.wait(LOGIN_SECONDS)
    else:
        say("open this address in a browser, anywhere, and allow Pinfold:")
        say(f"  {consent.address}")
        say(f"the browser then fails to open {consent.redirect_uri}...: that is all right")
        code = read_answer(_pasted(), consent.state)
    return connecting.redeem(outside.deployment, consent, code)


def _pasted() -> str:
    """The address from the browser's address bar, typed where it is not repeated in a log."""
    answer: str = typer.prompt("paste the whole address it shows", hide_input=sys.stdin.isatty())
    return answer


def _refuse_taken(outside: Outside, name: str) -> None:
    """Before anybody goes to the browser for nothing."""
    try:
        connections.find_connection(outside.deployment, name)
    except NotFound:
        return
    raise Refused(
        f"connection {name} exists; `pinfold connection replace-login {name}` logs in anew"
    )


def _chosen(accounts: list[AdAccount], wanted: str | None) -> AdAccount:
    """The account that was named, the only one, or the one that the person chooses."""
    if wanted is not None:
        return connecting.account_named(accounts, wanted)
    only = connecting.only_usable(accounts)
    if only is not None:
        return only
    if not sys.stdin.isatty():
        known = ", ".join(f"{account.id} ({account.name})" for account in accounts)
        raise ConfigError(
            f"the login reaches several ad accounts, name one: --ad-account ({known})"
        )
    drawn = table("", (">no.", "ad account", "name", "your roles there"))
    for number, account in enumerate(accounts, start=1):
        roles = ", ".join(account.roles).lower() or "?"
        may = "" if account.may_write else " (may not change audiences)"
        drawn.add_row(str(number), account.id, account.name, roles + may)
    show(drawn)
    while True:
        number = typer.prompt("which one", type=int)
        if 1 <= number <= len(accounts):
            return connecting.account_named(accounts, accounts[number - 1].id)


def _kept(tokens: Tokens) -> str:
    if tokens.refresh is None:
        return "without a refresh token: it ends when the access token does"
    return "renewed by itself from now on"
