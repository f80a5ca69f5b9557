"""The consent page of the simulated Pinterest, /oauth/: a person lets an app in, or does not.

API facts section 5. What is wrong with the address is told on a page and never redirected, as
nobody knows yet whether the redirect address can be trusted.
"""

import re
import secrets
from html import escape
from urllib.parse import parse_qsl, urlencode

from app.sandbox.pinterest_apps import App, Apps
from app.sandbox.pinterest_behaviour import Behaviour
from app.sandbox.pinterest_messages import Reply
from app.sandbox.pinterest_tokens import Tokens

_SCOPE = re.compile(r"[a-z_]+:(read|write)(_secret)?")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 sans-serif; max-width: 26em; margin: 4em auto; padding: 0 1em }}
button {{ font: inherit; padding: .5em 1.5em; margin-right: 1em }}
</style></head><body><h1>{title}</h1>
{content}
</body></html>
"""
_QUESTION = """<p>You are signed in as <b id="person">{person}</b>.
<b id="app">{app}</b> asks for your leave to use:</p>
<ul id="scopes">{scopes}</ul>
<form method="post" action="/oauth/">{hidden}
<button id="allow" name="decision" value="allow">Allow</button>
<button id="deny" name="decision" value="deny">Deny</button></form>"""
_CLICK = """<script>document.getElementById("{decision}").click()</script>"""


class _Wrong(Exception):
    """The address of the page does not hold what it must."""


class ConsentPage:
    """GET shows the page, POST is the click on one of its buttons."""

    def __init__(self, behaviour: Behaviour, apps: Apps, tokens: Tokens) -> None:
        self._behaviour, self._apps, self._tokens = behaviour, apps, tokens

    def answer(self, method: str, query: str, body: bytes) -> Reply:
        """A page, or the way back to the app (302)."""
        sent = body.decode("latin-1") if method == "POST" else query
        asked = dict(parse_qsl(sent, keep_blank_values=True))
        try:
            app, scopes = self._check(asked)
        except _Wrong as problem:
            content = f'<p id="problem">{escape(str(problem))}</p>'
            return _page(400, "Something is wrong with this link", content)
        if method == "POST":
            return self._decide(asked, app, scopes)
        return self._ask(asked, app, scopes)

    def _check(self, asked: dict[str, str]) -> tuple[App, list[str]]:
        app = self._apps.find(asked.get("client_id", ""))
        scopes = asked.get("scope", "").replace(",", " ").split()
        if app is None:
            raise _Wrong("No app has this client_id.")
        if asked.get("redirect_uri") not in app.redirect_uris:
            raise _Wrong("This redirect_uri is not one of those registered with the app.")
        if asked.get("response_type") != "code":
            raise _Wrong("response_type must be code.")
        if not scopes or not all(map(_SCOPE.fullmatch, scopes)):
            raise _Wrong("scope must name the scopes asked for.")
        return app, scopes

    def _ask(self, asked: dict[str, str], app: App, scopes: list[str]) -> Reply:
        hidden = "".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
            for name, value in asked.items()
        )
        items = "".join(f"<li>{escape(scope)}</li>" for scope in scopes)
        content = _QUESTION.format(
            person=escape(self._behaviour.signed_in),
            app=escape(app.name),
            scopes=items,
            hidden=hidden,
        )
        if self._behaviour.consent != "ask":
            content += _CLICK.format(decision=self._behaviour.consent)
        return _page(200, f"Let {app.name} in?", content)

    def _decide(self, asked: dict[str, str], app: App, scopes: list[str]) -> Reply:
        redirect_uri = asked["redirect_uri"]
        if asked.get("decision") == "allow":
            given = self._behaviour.granted_scopes
            result = {"code": secrets.token_hex(20)}
            self._tokens.add_code(
                result["code"],
                redirect_uri,
                scopes if given is None else given,
                app.id,
                self._behaviour.signed_in,
            )
        else:
            result = {"error": "access_denied"}
        if "state" in asked:
            result["state"] = asked["state"]
        joint = "&" if "?" in redirect_uri else "?"
        return Reply(302, headers={"Location": redirect_uri + joint + urlencode(result)})


def _page(status: int, title: str, content: str) -> Reply:
    page = _PAGE.format(title=escape(title), content=content)
    return Reply(status, page.encode(), content_type="text/html; charset=utf-8")
