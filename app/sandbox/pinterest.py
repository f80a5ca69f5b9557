"""A Pinterest to test against: customer lists, audiences, tokens, quotas, and bad days on demand.

It speaks HTTP on loopback, so a client only gets another base URL. In a test it runs in a thread:

    with PinterestSimulator() as pinterest:
        requests.get(pinterest.base_url + "/ad_accounts", headers={"Authorization": ...})
        pinterest.books.membership(list_id)

By itself it is a process, inspected over HTTP (see pinterest_inspection.py):

    python -m app.sandbox.pinterest --port 8089 --token pina_test

Its rules are those of API facts section 11.
"""

import argparse
import signal
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

from app.sandbox.pinterest_api import PinterestApi
from app.sandbox.pinterest_behaviour import Behaviour
from app.sandbox.pinterest_books import Books
from app.sandbox.pinterest_faults import FAULTS, Faults
from app.sandbox.pinterest_history import RequestRecord
from app.sandbox.pinterest_inspection import Inspection
from app.sandbox.pinterest_tokens import Tokens, TokenState
from app.sandbox.pinterest_wire import SimulatorServer

__all__ = ["Behaviour", "Books", "Faults", "PinterestSimulator", "RequestRecord"]

DEFAULT_TOKEN = "pina_test"  # noqa: S105 - opens only the simulator
DEFAULT_AD_ACCOUNT = "549770000001"


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
        behaviour: Behaviour | None = None,
        port: int = 0,
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self.books = Books(self.behaviour)
        self.faults = Faults()
        self.tokens = Tokens(self.behaviour, tokens)
        self._ended = threading.Event()
        self._api = PinterestApi(
            self.behaviour, self.books, self.faults, self.tokens, ad_accounts, wait=self._ended.wait
        )
        self._inspection = Inspection(self.behaviour, self.books, self.faults, self.tokens)
        self._server: SimulatorServer | None = self._bind(port)
        self._thread: threading.Thread | None = None
        self.port: int = self._server.server_port if self._server else port
        self.base_url = f"http://127.0.0.1:{self.port}/v5"
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
        return SimulatorServer(port, self._api, self._inspection, self._ended.wait)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the simulator as a process until SIGTERM or SIGINT."""
    options = _parser().parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    simulator = PinterestSimulator(
        tokens=options.token or [DEFAULT_TOKEN],
        ad_accounts=options.ad_account or [DEFAULT_AD_ACCOUNT],
        behaviour=_behaviour(options),
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


def _behaviour(options: argparse.Namespace) -> Behaviour:
    return Behaviour(
        writes_per_minute=options.writes_per_minute or None,
        reads_per_minute=options.reads_per_minute or None,
        processing_seconds=options.ready_after,
        match_rate=options.match_rate,
        minimum_matched=options.minimum_matched,
        refuse_small_audience=options.refuse_small_audience,
        max_records=options.max_records,
        max_body_bytes=options.max_body_bytes,
        keep_history=not options.forget_records,
        count_only=options.count_only,
        app_id=options.app_id,
        app_secret=options.app_secret,
    )


def _chance(text: str) -> tuple[str, float]:
    fault, _, chance = text.partition("=")
    if fault not in FAULTS:
        raise argparse.ArgumentTypeError(f"unknown fault {fault!r}")
    return fault, float(chance)


def _parser() -> argparse.ArgumentParser:
    usual = Behaviour()
    parser = argparse.ArgumentParser(
        prog="python -m app.sandbox.pinterest",
        description="A simulated Pinterest (ads API v5) on 127.0.0.1. Give a client the base URL "
        "http://127.0.0.1:PORT/v5; read the books at http://127.0.0.1:PORT/_sandbox/summary.",
        epilog=f"Faults: {', '.join(sorted(FAULTS))}.",
    )
    add = parser.add_argument
    add("--port", type=int, default=8089, help="port on loopback; 0 takes a free one (%(default)s)")
    add(
        "--token",
        action="append",
        metavar="T",
        help=f"access token (again for more); else {DEFAULT_TOKEN}",
    )
    add(
        "--ad-account",
        action="append",
        metavar="ID",
        help=f"ad account (again for more); else {DEFAULT_AD_ACCOUNT}",
    )
    add(
        "--writes-per-minute",
        type=int,
        default=usual.writes_per_minute,
        metavar="N",
        help="quota of writes per token; 0 lifts it (%(default)s)",
    )
    add(
        "--reads-per-minute",
        type=int,
        default=usual.reads_per_minute,
        metavar="N",
        help="quota of reads per token; 0 lifts it (%(default)s)",
    )
    add(
        "--ready-after",
        type=float,
        default=usual.processing_seconds,
        metavar="SECONDS",
        help="how long lists stay PROCESSING and audiences INITIALIZING (%(default)s)",
    )
    add(
        "--match-rate",
        type=float,
        default=usual.match_rate,
        metavar="SHARE",
        help="share of members that are Pinterest accounts (%(default)s)",
    )
    add(
        "--minimum-matched",
        type=int,
        default=usual.minimum_matched,
        metavar="N",
        help="fewer matches than this are TOO_SMALL (%(default)s)",
    )
    add(
        "--refuse-small-audience",
        action="store_true",
        help="answer 400 to an audience of a list that is too small",
    )
    add("--max-records", type=int, metavar="N", help="more records in one request are answered 413")
    add("--max-body-bytes", type=int, metavar="N", help="larger bodies are answered 413")
    add(
        "--books",
        type=Path,
        metavar="FILE",
        help="load lists and audiences from FILE, save them there at the end",
    )
    add(
        "--forget-records",
        action="store_true",
        help="keep the membership, but not the records of each request",
    )
    add("--count-only", action="store_true", help="for benchmarks: only count records")
    add(
        "--fault",
        type=_chance,
        action="append",
        metavar="NAME=P",
        help="let writes meet a fault with probability P (again for more)",
    )
    add("--seed", type=int, default=0, help="seed of the faults (%(default)s)")
    add("--app-id", default=usual.app_id, help="user name at the token endpoint (%(default)s)")
    add(
        "--app-secret",
        default=usual.app_secret,
        help="password at the token endpoint (%(default)s)",
    )
    return parser


if __name__ == "__main__":
    main()
