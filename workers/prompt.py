"""The server's protocol, with an end to connections that say nothing.

uvicorn limits how long a connection may idle after a request, but not how long the first one, or
the head of any, may take: silent connections would fill the service.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 30.0
"""Within it a connection has to bring a whole head; what then follows has limits of its own."""


class PromptProtocol(H11Protocol):
    """HTTP over one connection, closed when no request begins or is under way for so long."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look_again(None)

    def _look_again(self, last: Any) -> None:
        self.loop.call_later(REQUEST_S, self._look, last)

    def _look(self, last: Any) -> None:
        if self.transport.is_closing():
            return
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.cycle is last:
            self.transport.close()
        else:
            self._look_again(self.cycle)
