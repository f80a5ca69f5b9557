"""A bare client of the simulated Pinterest, for the tests of the simulator itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from app.sandbox.pinterest import (
    DEFAULT_APP_ID,
    DEFAULT_APP_SECRET,
    Behaviour,
    PinterestSimulator,
)

ACCOUNT = "549770000001"


class Clock:
    """Time that moves only when told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Caller:
    """Calls the simulator with one token over one session; every path is below /v5."""

    def __init__(self, simulator: PinterestSimulator, clock: Clock) -> None:
        self.simulator, self.clock = simulator, clock
        self.books, self.faults, self.behaviour = (
            simulator.books,
            simulator.faults,
            simulator.behaviour,
        )
        self.session = requests.Session()
        self.session.headers["Authorization"] = "Bearer pina_test"

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        options = {"timeout": 10, "allow_redirects": False} | options
        return self.session.request(method, self.simulator.base_url + path, **options)

    def lists(self, method: str, path: str = "", **options: Any) -> requests.Response:
        return self.call(method, f"/ad_accounts/{ACCOUNT}/customer_lists{path}", **options)

    def audiences(self, method: str, path: str = "", **options: Any) -> requests.Response:
        return self.call(method, f"/ad_accounts/{ACCOUNT}/audiences{path}", **options)

    def create(self, records: str = "a,b", **fields: Any) -> str:
        """A new list; its id."""
        reply = self.lists("POST", json={"name": "VIP", "records": records, **fields})
        assert reply.ok, reply.text
        return str(reply.json()["id"])

    def patch(
        self, list_id: str, operation: str, records: str, **options: Any
    ) -> requests.Response:
        body = {"operation_type": operation, "records": records}
        return self.lists("PATCH", f"/{list_id}", json=body, **options)

    def token(self, form: dict[str, str], app: tuple[str, str] | None = None) -> requests.Response:
        app = app or (DEFAULT_APP_ID, DEFAULT_APP_SECRET)
        url = self.simulator.base_url + "/oauth/token"
        return requests.post(url, data=form, auth=app, timeout=10)

    def inspect(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, self.simulator.inspect_url + path, timeout=10, **options)


@contextmanager
def calling(ad_accounts: tuple[str, ...] = (ACCOUNT,), **switches: Any) -> Iterator[Caller]:
    """A running simulator whose clock stands still, and a client of it."""
    clock = Clock()
    behaviour = Behaviour(**{"clock": clock, **switches})
    with PinterestSimulator(ad_accounts=ad_accounts, behaviour=behaviour) as simulator:
        caller = Caller(simulator, clock)
        with caller.session:
            yield caller


def refusal(reply: requests.Response) -> tuple[int, int]:
    """Status and Pinterest's own code."""
    assert reply.json().keys() == {"code", "message"}
    return reply.status_code, reply.json()["code"]
