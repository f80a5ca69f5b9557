"""The HTTP service on a free port of this process, as tests call it: over a socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
import uvicorn

from app.api.service import create_service
from app.api_tokens import add_token
from app.deployment import Deployment
from app.doorbell import Doorbell, SilentDoorbell
from app.sandbox.stack import free_port
from app.sources import add_secret, add_source
from workers.prompt import PromptProtocol

START_S = 10.0


class Service:
    """A running service; ``call`` speaks to it with the token or secret it is given."""

    def __init__(self, deployment: Deployment, port: int) -> None:
        self.deployment = deployment
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._session = requests.Session()
        self._session.trust_env = False

    def close(self) -> None:
        self._session.close()

    def token(self, permission: str = "write", **more: Any) -> str:
        return add_token(
            self.deployment, more.pop("name", permission), permission, more.pop("connection", None)
        )

    def source(
        self, name: str, format_name: str, connection: str | None = None, **more: Any
    ) -> str:
        """Make a source; returns its secret."""
        made = add_source(self.deployment, name, format_name, connection, **more)
        return add_secret(self.deployment, made.id)

    def call(
        self, method: str, path: str, secret: str | None = None, **more: Any
    ) -> requests.Response:
        headers = dict(more.pop("headers", {}))
        if secret is not None:
            headers.setdefault("Authorization", f"Bearer {secret}")
        return self._session.request(method, self.url + path, headers=headers, timeout=30, **more)

    def post(self, path: str, secret: str | None = None, **more: Any) -> requests.Response:
        return self.call("POST", path, secret, **more)

    def get(self, path: str, secret: str | None = None, **more: Any) -> requests.Response:
        return self.call("GET", path, secret, **more)


@contextmanager
def running_service(deployment: Deployment, doorbell: Doorbell | None = None) -> Iterator[Service]:
    """The service over one deployment, until the block ends."""
    port = free_port(0)
    config = uvicorn.Config(
        create_service(deployment, doorbell or SilentDoorbell()),
        host="127.0.0.1",
        port=port,
        http=PromptProtocol,
        log_level="warning",
        access_log=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + START_S
    while not server.started:
        assert thread.is_alive(), "the service did not start"
        assert time.monotonic() < deadline, "the service does not start"
        time.sleep(0.01)
    service = Service(deployment, port)
    try:
        yield service
    finally:
        service.close()
        server.should_exit = True
        thread.join(START_S)
