"""A Pinterest to test against: customer lists, audiences, tokens, quotas, and bad days on demand.

It speaks HTTP on loopback, so a client only gets another base URL. In a test it runs in a thread:

    with PinterestSimulator() as pinterest:
        requests.get(pinterest.base_url + "/ad_accounts", headers={"Authorization": ...})
        pinterest.books.membership(list_id)

By itself it is a process, inspected over HTTP (see pinterest_inspection.py):

    python -m app.sandbox.pinterest --port 8089 --token pina_test

Its rules are those of API facts section 11. People log in at `consent_url`, in a browser.
"""

import signal
import threading
from collections.abc import Iterable, Sequence
from types import TracebackType

from app.sandbox.pinterest_accounts import Accounts
from app.sandbox.pinterest_api import PinterestApi
from app.sandbox.pinterest_apps import DEFAULT_APP_ID, DEFAULT_APP_SECRET, App, Apps
from app.sandbox.pinterest_behaviour import Behaviour
from app.sandbox.pinterest_books import Books
from app.sandbox.pinterest_consent import ConsentPage
from app.sandbox.pinterest_faults import Faults
from app.sandbox.pinterest_history import RequestRecord
from app.sandbox.pinterest_inspection import Inspection
from app.sandbox.pinterest_options import (
    DEFAULT_AD_ACCOUNT,
    DEFAULT_TOKEN,
    app_of,
    behaviour_of,
    read_options,
)
from app.sandbox.pinterest_tokens import Tokens, TokenState
from app.sandbox.pinterest_wire import SimulatorServer

__all__ = [
    "DEFAULT_AD_ACCOUNT",
    "DEFAULT_APP_ID",
    "DEFAULT_APP_SECRET",
    "DEFAULT_TOKEN",
    "App",
    "Behaviour",
    "Books",
    "Faults",
    "PinterestSimulator",
    "RequestRecord",
]


class PinterestSimulator:
    """A simulated Pinterest on 127.0.0.1.

    The port is taken at once, so `base_url` is known before `start`; until then, and after
    `stop`, connections are refused. It may be started again after a stop: same port, same books.
    A token `pina_x` comes with the refresh token `pinr_x`.
    """

    def __init__(
        self,
        *,
        tokens: Iterable[str] = (DEFAULT_TOKEN,),
        ad_accounts: Iterable[str] = (DEFAULT_AD_ACCOUNT,),
        apps: Iterable[App] = (),
        behaviour: Behaviour | None = None,
        port: int = 0,
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self.books = Books(self.behaviour)
        self.faults = Faults()
        self.apps = Apps(list(apps) or [App()])
        self.accounts = Accounts(self.behaviour, ad_accounts)
        self.tokens = Tokens(self.behaviour, self.apps.first, tokens)
        self._ended = threading.Event()
        self._api = PinterestApi(
            self.behaviour,
            self.books,
            self.faults,
            apps=self.apps,
            accounts=self.accounts,
            tokens=self.tokens,
            wait=self._ended.wait,
        )
        self._consent = ConsentPage(self.behaviour, self.apps, self.tokens)
        self._inspection = Inspection(
            self.behaviour,
            self.books,
            self.faults,
            apps=self.apps,
            accounts=self.accounts,
            tokens=self.tokens,
        )
        self._server: SimulatorServer | None = self._bind(port)
        self._thread: threading.Thread | None = None
        self.port: int = self._server.server_port if self._server else port
        self.base_url = f"http://127.0.0.1:{self.port}/v5"
        self.consent_url = f"http://127.0.0.1:{self.port}/oauth/"
        self.inspect_url = f"http://127.0.0.1:{self.port}/_sandbox"

    def start(self) -> "PinterestSimulator":
        """Answer from now on."""
        if self._thread is not None:
            raise RuntimeError("the simulator runs already")
        self._ended.clear()
        self._server = self._server or self._bind(self.port)
        self._server.server_activate()
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="pinterest", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Hang up on everybody. What was to be applied late is not applied any more."""
        self._ended.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        if self._server is not None:
            self._server.go_away()
        self._server = self._thread = None

    def set_token_state(
        self, token: str, state: TokenState, scopes: Iterable[str] | None = None
    ) -> None:
        """`expired` and `revoked` are answered 401 (a revoked one cannot be refreshed either),
        `restricted` 403. With `scopes`, the token is good for these only.
        """
        self.tokens.set_state(token, state, scopes)

    def register_redirect(self, redirect_uri: str) -> None:
        """Let the consent page send people of the first app back to this address too."""
        self.apps.register_redirect(redirect_uri)

    def __enter__(self) -> "PinterestSimulator":
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _bind(self, port: int) -> SimulatorServer:
        return SimulatorServer(port, self._api, self._consent, self._inspection, self._ended.wait)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the simulator as a process until SIGTERM or SIGINT."""
    options = read_options(arguments)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    simulator = PinterestSimulator(
        tokens=options.token or [DEFAULT_TOKEN],
        ad_accounts=options.ad_account or [DEFAULT_AD_ACCOUNT],
        apps=[app_of(options)],
        behaviour=behaviour_of(options),
        port=options.port,
    )
    if options.fault:
        simulator.faults.probability(dict(options.fault), seed=options.seed)
    if options.books is not None and options.books.exists():
        simulator.books.load(options.books)
    with simulator:
        print(f"Pinterest simulator ready: {simulator.base_url}", flush=True)
        ended.wait()
    if options.books is not None:
        simulator.books.save(options.books)


if __name__ == "__main__":
    main()
