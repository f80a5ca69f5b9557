"""A headless Chromium of the system, driven over its debugging socket: open, read, click.

Flower brings Tornado, whose websocket client is all that is needed for it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tornado.websocket import WebSocketClientConnection, websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next((found for name in NAMES if (found := shutil.which(name))), None)
START_S = 30.0
ANSWER_S = 20.0


class Page:
    """The one tab of a browser."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: WebSocketClientConnection) -> None:
        self._loop, self._socket = loop, socket
        self._numbers = itertools.count(1)

    def open(self, address: str) -> None:
        self._ask("Page.navigate", url=address)

    def click(self, selector: str) -> None:
        """Click on an element as soon as it is there."""
        self.until(f"document.querySelector({selector!r}) !== null")
        self.value(f"document.querySelector({selector!r}).click()")

    def text(self) -> str:
        return str(self.value("document.body.innerText"))

    def address(self) -> str:
        return str(self.value("location.href"))

    def value(self, expression: str) -> Any:
        """What a JavaScript expression yields in the page, None while it is being replaced."""
        answer = self._ask("Runtime.evaluate", expression=expression)
        return answer.get("result", {}).get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + ANSWER_S
        while self.value(expression) is not True:
            assert time.monotonic() < deadline, f"{expression} never came true at {self.address()}"
            time.sleep(0.05)

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        question = json.dumps({"id": number, "method": method, "params": parameters})
        answer = asyncio.wait_for(self._exchange(number, question), ANSWER_S)
        return self._loop.run_until_complete(answer)

    async def _exchange(self, number: int, question: str) -> dict[str, Any]:
        await self._socket.write_message(question)
        while True:
            said = await self._socket.read_message()
            assert said is not None, "the browser is gone"
            answer = json.loads(said)
            if answer.get("id") == number:
                return dict(answer.get("result", {}))


@contextmanager
def browser(directory: Path) -> Iterator[Page]:
    """A browser with a fresh profile, ended with the context."""
    assert PROGRAM is not None
    command = [
        PROGRAM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
    ]
    command += ["--remote-debugging-port=0", f"--user-data-dir={directory}", "about:blank"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet) as process:
        loop = asyncio.new_event_loop()
        try:
            port = _port(directory / "DevToolsActivePort", process)
            socket = loop.run_until_complete(_tab(port))
            yield Page(loop, socket)
            loop.run_until_complete(_closed(socket))
        finally:
            process.kill()
            loop.close()


def _port(written: Path, process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + START_S
    while not (written.exists() and written.read_text().count("\n")):
        assert process.poll() is None, "the browser ended"
        assert time.monotonic() < deadline, "the browser did not start"
        time.sleep(0.05)
    return int(written.read_text().split()[0])


async def _closed(socket: WebSocketClientConnection) -> None:
    socket.close()  # within the loop, which the farewell is written in


async def _tab(port: int) -> WebSocketClientConnection:
    from tornado.httpclient import AsyncHTTPClient  # noqa: PLC0415 wants a running loop

    reply = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json/list")
    (tab,) = [each for each in json.loads(reply.body) if each["type"] == "page"]
    return await websocket_connect(tab["webSocketDebuggerUrl"])
