"""The inspection route of the simulator, /_sandbox: the books to read, the faults to set.

It needs no token, counts against no quota and stands in no history.

    GET    /summary                        lists, audiences, number of requests
    GET    /lists/ID/members               one digest per line
    GET    /requests?after=SEQ&records=1   NDJSON, records only if asked
    POST   /faults                         {"fault": ..., "times": ..., "operation": ..., OPTIONS}
                                           or {"probability": {...}, "seed": ...}
    DELETE /faults
    PATCH  /behaviour                      any switches of Behaviour that JSON can name
    POST   /tokens                         {"token": ..., "state": ..., "scopes": [...]}
    POST   /codes                          {"code": ..., "redirect_uri": ..., "scopes": [...]}
    POST   /refresh_tokens                 {"refresh_token": ..., "scopes": [...]}
    POST   /lists/ID/nudge                 {"batches": ..., "uploaded": ..., "removed": ...}
    DELETE /lists/ID                       the list vanishes
"""

import json
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any
from urllib.parse import parse_qsl

from app.sandbox.pinterest_behaviour import Behaviour
from app.sandbox.pinterest_books import Books
from app.sandbox.pinterest_faults import Faults
from app.sandbox.pinterest_messages import Reply
from app.sandbox.pinterest_tokens import Tokens

_DONE = Reply(204)


class Inspection:
    """What stands below /_sandbox."""

    def __init__(self, behaviour: Behaviour, books: Books, faults: Faults, tokens: Tokens) -> None:
        self._behaviour, self._books, self._faults, self._tokens = behaviour, books, faults, tokens
        self._routes: dict[str, Callable[..., Reply]] = {
            r"GET /summary": self._summary,
            r"GET /lists/(\d+)/members": self._members,
            r"GET /requests": self._requests,
            r"POST /faults": self._set_fault,
            r"DELETE /faults": self._clear_faults,
            r"PATCH /behaviour": self._behave,
            r"POST /tokens": self._set_token,
            r"POST /codes": self._add_code,
            r"POST /refresh_tokens": self._add_refresh_token,
            r"POST /lists/(\d+)/nudge": self._nudge,
            r"DELETE /lists/(\d+)": self._delete_list,
        }

    def answer(self, method: str, target: str, body: bytes) -> Reply:
        """Answer one request; `target` is path and query below /_sandbox."""
        path, _, query = target.partition("?")
        given: dict[str, Any] = dict(parse_qsl(query))
        for pattern, route in self._routes.items():
            if match := re.fullmatch(pattern, f"{method} {path}"):
                try:
                    return route(*match.groups(), **given | json.loads(body or b"{}"))
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
        lines = [
            json.dumps(request.shown(records=records == "1")) + "\n"
            for request in self._books.requests()[int(after) :]
        ]
        return Reply(200, "".join(lines).encode(), content_type="application/x-ndjson")

    def _set_fault(self, **given: Any) -> Reply:
        if "probability" in given:
            self._faults.probability(given.pop("probability"), **given)
        else:
            self._faults.script(given.pop("fault"), **given)
        return _DONE

    def _clear_faults(self) -> Reply:
        self._faults.clear()
        return _DONE

    def _behave(self, **switches: Any) -> Reply:
        known = {each.name for each in fields(Behaviour)} - {"clock"}
        if not switches.keys() <= known:
            raise ValueError(f"unknown switches: {sorted(switches.keys() - known)}")
        for name, value in switches.items():
            setattr(self._behaviour, name, value)
        return _DONE

    def _set_token(self, **given: Any) -> Reply:
        self._tokens.set_state(**given)
        return _DONE

    def _add_code(self, **given: Any) -> Reply:
        self._tokens.add_code(**given)
        return _DONE

    def _add_refresh_token(self, **given: Any) -> Reply:
        self._tokens.add_refresh_token(**given)
        return _DONE

    def _nudge(self, list_id: str, **given: Any) -> Reply:
        self._books.nudge_counters(list_id, **given)
        return _DONE

    def _delete_list(self, list_id: str) -> Reply:
        self._books.delete_list(list_id)
        return _DONE
