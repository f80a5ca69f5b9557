"""The inspection route of the simulator, /_sandbox: the books to read, the faults to set.

It needs no token, counts against no quota and stands in no history.

    GET    /summary                        lists, audiences, number of requests
    GET    /lists/ID/members               one digest per line
    GET    /requests?after=SEQ&records=1   NDJSON, records only if asked
    POST   /faults                         {"fault": ..., "times": ..., "operation": ..., OPTIONS}
                                           or {"probability": {...}, "seed": ...}
    DELETE /faults
    PATCH  /behaviour                      any switches of Behaviour that JSON can name
    GET    /tokens                         access tokens with their logins and refresh tokens
    POST   /tokens                         {"token": ..., "state": ..., "scopes": [...]}
    POST   /tokens/expire                  {"token": ...}; without a token, all
    POST   /tokens/revoke                  {"token": ...}; ends the login; without a token, all
    POST   /refresh_tokens/revoke          {"refresh_token": ...}; without one, all
    GET    /grants?kind=refresh_token      NDJSON, the token calls and what came of them
    POST   /apps                           {"id": ..., "secret": ..., "redirect_uris": [...]}
    POST   /apps/ID/redirects              {"redirect_uri": ...}
    POST   /apps/ID/restrict               {"restricted": true}
    PUT    /accounts/ID/roles              {"roles": [...], "person": ...}
    PUT    /accounts/ID/state              {"state": ...}
    POST   /codes                          {"code": ..., "redirect_uri": ..., "scopes": [...]}
    POST   /refresh_tokens                 {"refresh_token": ..., "scopes": [...]}
    POST   /lists/ID/nudge                 {"batches": ..., "uploaded": ..., "removed": ...}
    POST   /lists/ID/skip                  {"times": ...}; writes that will not be counted
    POST   /lists/ID/write                 {"add": [...], "remove": [...]}, as another writer
    POST   /lists/settle                   {"list_id": ...}; late counters show; without a list, all
    DELETE /lists/ID                       the list vanishes, and its audience
    DELETE /audiences/ID                   the audience is removed, its list stays
"""

import json
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any
from urllib.parse import parse_qsl

from app.sandbox.pinterest_accounts import Accounts
from app.sandbox.pinterest_apps import App, Apps
from app.sandbox.pinterest_behaviour import Behaviour
from app.sandbox.pinterest_books import Books
from app.sandbox.pinterest_faults import Faults
from app.sandbox.pinterest_history import RequestRecord
from app.sandbox.pinterest_messages import Reply
from app.sandbox.pinterest_tokens import Tokens

_DONE = Reply(204)


class Inspection:
    """What stands below /_sandbox."""

    def __init__(
        self,
        behaviour: Behaviour,
        books: Books,
        faults: Faults,
        *,
        apps: Apps,
        accounts: Accounts,
        tokens: Tokens,
    ) -> None:
        self._behaviour, self._books, self._faults, self._tokens = behaviour, books, faults, tokens
        self._accounts, self._apps = accounts, apps
        self._routes: dict[str, Callable[..., Reply | None]] = {
            r"GET /summary": self._summary,
            r"GET /lists/(\d+)/members": self._members,
            r"GET /requests": self._requests,
            r"POST /faults": self._set_fault,
            r"DELETE /faults": faults.clear,
            r"PATCH /behaviour": self._behave,
            r"GET /tokens": lambda: Reply.of(200, tokens.issued()),
            r"POST /tokens": tokens.set_state,
            r"POST /tokens/expire": tokens.expire,
            r"POST /tokens/revoke": tokens.revoke,
            r"POST /codes": tokens.add_code,
            r"POST /refresh_tokens": tokens.add_refresh_token,
            r"POST /refresh_tokens/revoke": tokens.revoke_refresh,
            r"GET /grants": self._grants,
            r"POST /apps": self._register,
            r"POST /apps/(\w+)/redirects": self._add_redirect,
            r"POST /apps/(\w+)/restrict": apps.restrict,
            r"PUT /accounts/(\d+)/roles": self._set_roles,
            r"PUT /accounts/(\d+)/state": accounts.set_state,
            r"POST /lists/(\d+)/nudge": books.nudge_counters,
            r"POST /lists/(\d+)/skip": books.skip_counting,
            r"POST /lists/(\d+)/write": books.write_as_another,
            r"POST /lists/settle": books.settle_counters,
            r"DELETE /lists/(\d+)": books.delete_list,
            r"DELETE /audiences/(\d+)": books.remove_audience,
        }

    def answer(self, method: str, target: str, body: bytes) -> Reply:
        """Answer one request; `target` is path and query below /_sandbox."""
        path, _, query = target.partition("?")
        given: dict[str, Any] = dict(parse_qsl(query))
        for pattern, route in self._routes.items():
            if match := re.fullmatch(pattern, f"{method} {path}"):
                try:
                    return route(*match.groups(), **given | json.loads(body or b"{}")) or _DONE
                except KeyError as missing:
                    return Reply.of(404, {"message": f"not found: {missing}"})
                except (TypeError, ValueError) as problem:
                    return Reply.of(400, {"message": str(problem)})
        return Reply.of(404, {"message": "no such inspection route; see pinterest_inspection.py"})

    def _summary(self) -> Reply:
        summary = {
            "lists": self._books.lists(),
            "audiences": self._books.audiences(),
            "requests": len(self._books.requests()),
            "faults_remaining": self._faults.remaining(),
        }
        return Reply.of(200, summary)

    def _members(self, list_id: str) -> Reply:
        lines = "".join(f"{digest}\n" for digest in sorted(self._books.membership(list_id)))
        return Reply(200, lines.encode(), content_type="text/plain")

    def _requests(self, after: str = "0", records: str = "0") -> Reply:
        return _lines(self._books.requests()[int(after) :], records=records == "1")

    def _grants(self, kind: str | None = None) -> Reply:
        return _lines(self._books.grants(kind), records=False)

    def _set_fault(self, **given: Any) -> None:
        if "probability" in given:
            self._faults.probability(given.pop("probability"), **given)
        else:
            self._faults.script(given.pop("fault"), **given)

    def _behave(self, **switches: Any) -> None:
        known = {each.name for each in fields(Behaviour)} - {"clock"}
        if not switches.keys() <= known:
            raise ValueError(f"unknown switches: {sorted(switches.keys() - known)}")
        for name, value in switches.items():
            setattr(self._behaviour, name, value)

    def _register(self, redirect_uris: list[str], **given: Any) -> None:
        self._apps.register(App(**given, redirect_uris=set(redirect_uris)))

    def _add_redirect(self, app_id: str, redirect_uri: str) -> None:
        self._apps.register_redirect(redirect_uri, app_id)

    def _set_roles(self, ad_account: str, roles: list[str], **given: Any) -> None:
        self._accounts.set_roles(ad_account, *roles, **given)


def _lines(requests: list[RequestRecord], *, records: bool) -> Reply:
    lines = "".join(json.dumps(request.shown(records=records)) + "\n" for request in requests)
    return Reply(200, lines.encode(), content_type="application/x-ndjson")
