"""An installation of which everything can be searched: what it shows, logs, stores, passes on."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests

from app.migrate import upgrade
from app.sandbox.children import Child
from app.sandbox.embedded_postgres import EmbeddedPostgres
from app.sandbox.embedded_valkey import EmbeddedValkey
from app.sandbox.pinterest import PinterestSimulator
from app.sandbox.stack import free_port
from tests.acceptance.fleet import AD_ACCOUNT, PINFOLD, Fleet, happens, make_fleet
from tests.canaries import Place, spellings

NAME = "Findable by design"
"""A name that does rest in the clear, so that the search can find."""
AUDIENCE = "31001"


@dataclass
class Site:
    """A fleet with servers of its own, that saw nothing but one test."""

    fleet: Fleet
    state: Path
    shown: Place = field(default_factory=lambda: Place("what people and callers see"))
    processes: Place = field(default_factory=lambda: Place("the list of processes"))
    secrets: list[str] = field(default_factory=list)
    """Tokens and keys that were shown once, which nobody may ever see again."""
    given: list[Path] = field(default_factory=list)
    """Files that somebody gave us: they hold what they hold."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    # What happens.

    def pinfold(self, *arguments: str, **more: Any) -> str:
        """Run a command, keep what it said, return its standard output."""
        done = self.fleet.pinfold(*arguments, **more)
        assert "Traceback" not in done.stderr
        self.show(" ".join(arguments), (done.stdout + done.stderr).encode())
        return done.stdout

    def pinfold_all(self, commands: Iterable[str]) -> None:
        """Run commands side by side."""
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(lambda command: self.pinfold(*command.split()), commands))

    def secret(self, *arguments: str) -> str:
        """Run a command that shows a secret alone on its output, for the only time."""
        done = self.fleet.pinfold(*arguments)
        assert done.returncode == 0, done.stderr
        self.secrets.append(done.stdout.split()[-1])
        self.show(" ".join(arguments), done.stderr.encode())
        return self.secrets[-1]

    def show(self, where: str, text: bytes) -> None:
        self.shown.contents[f"{next(self._numbers)}: {where}"] = text

    def give(self, name: str, text: str | bytes) -> str:
        """The path of a file with a text, for a command to read."""
        path = self.fleet.directory / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        self.given.append(path)
        return str(path)

    def api(self) -> Caller:
        """The HTTP service, running."""
        port = free_port(0)
        self.fleet.start("api", (*PINFOLD, "api", "--port", str(port)), "listening on")
        caller = Caller(self, f"http://127.0.0.1:{port}")
        happens(caller.is_answered)
        return caller

    def look_at_processes(self) -> None:
        """Take down with which arguments each process runs, and which of its own variables."""
        for child in self.fleet.children:
            for each in _family(child):
                with suppress(psutil.Error):
                    given = self.fleet.environment.items()
                    own = [item for item in each.environ().items() if item not in given]
                    self.processes.contents[f"{child.name} {each.pid}"] = repr(
                        (each.cmdline(), own)
                    ).encode()

    def keys(self) -> list[str]:
        """The keys that seal, and the secret of the app, as the environment names them."""
        named = (
            self.fleet.environment.get(name) for name in ("PINFOLD_KEYS", "PINFOLD_APP_SECRET")
        )
        return [each for text in named if text for each in text.split(",")]

    # Where it could have been left.

    def places(self) -> list[Place]:
        """Everything, after all processes have ended and all of Postgres is on the disk."""
        self.look_at_processes()
        self.fleet.stop()
        self.fleet.ask("SELECT pg_switch_wal()")
        self.fleet.deployment.engine.dispose()
        for path in self.given:
            path.unlink()
        servers = {str(log): log.read_bytes() for log in self.state.glob("*.log")}
        return [
            self.shown,
            self.processes,
            Place("logs and files of commands").read(self.fleet.directory),
            Place("Postgres with its WAL").read(self.state / "postgres"),
            Place("logs of servers", servers),
        ]

    def broker(self) -> Place:
        return Place("the broker's files").read(self.state / "valkey")

    def assert_nowhere(self, needles: Iterable[bytes], in_broker: Iterable[bytes] = ()) -> None:
        """No trace anywhere; of what was published none outside the broker's files."""
        needles = set(needles) | spellings(*self.secrets, *self.keys())
        published = set(in_broker)
        places, broker = self.places(), self.broker()
        for place in places:
            assert place.contents, place.name
            assert (place.name, place.holding(needles | published)) == (place.name, [])
        assert broker.holding(needles) == []
        if published:
            assert broker.holding(published), "the search looked past the broker's files"
        assert self.shown.holding([NAME.encode()]), "the search looked past what is shown"
        found = places[3].holding([NAME.encode()])
        assert any("pg_wal" in path for path, _ in found), "the search looked past the WAL"


class Caller:
    """Calls the HTTP service; every answer is kept."""

    def __init__(self, site: Site, url: str) -> None:
        self.site, self.url = site, url
        self._session = requests.Session()

    def call(
        self, method: str, path: str, secret: str | None = None, **more: Any
    ) -> requests.Response:
        headers = dict(more.pop("headers", {}))
        if secret is not None:
            headers.setdefault("Authorization", f"Bearer {secret}")
        answer = self._session.request(method, self.url + path, headers=headers, timeout=30, **more)
        told = f"{answer.status_code} {answer.headers}\n".encode() + answer.content
        self.site.show(f"answer {answer.status_code} to {method}", told)
        return answer

    def is_answered(self) -> bool:
        with suppress(requests.ConnectionError):
            return self.get("/healthz").ok
        return False

    def post(self, path: str, secret: str | None = None, **more: Any) -> requests.Response:
        return self.call("POST", path, secret, **more)

    def get(self, path: str, secret: str | None = None, **more: Any) -> requests.Response:
        return self.call("GET", path, secret, **more)


@contextmanager
def sealed_site(directory: Path, token: str, **settings: str) -> Iterator[Site]:
    """An installation whose Postgres and broker saw nothing but this run; all logs at DEBUG."""
    with tempfile.TemporaryDirectory(prefix="pinfold-secrecy-") as name:
        state = Path(name)
        state.chmod(0o755)  # as root, Postgres runs as `nobody`
        postgres, valkey = EmbeddedPostgres(state), EmbeddedValkey(state)
        try:
            postgres.start()
            valkey.start()
            upgrade(postgres.url())
            with PinterestSimulator(tokens=[token], ad_accounts=[AD_ACCOUNT]) as simulator:
                urls = (postgres.url(), valkey.url(), simulator)
                fleet = make_fleet(directory, *urls, PINFOLD_LOG_LEVEL="DEBUG", **settings)
                try:
                    yield Site(fleet, state)
                finally:
                    fleet.stop()
        finally:
            valkey.stop()
            postgres.stop()


def _family(child: Child) -> list[psutil.Process]:
    if child.pid is None:
        return []
    first = psutil.Process(child.pid)
    return [first, *first.children(recursive=True)]
