"""A mend for kombu 5.7.0: a worker whose Redis connection drops in mid-task dies.

The channel is asked for its connection's parameters after that connection is gone, which raises
AttributeError where callers expect, and recover from, a connection error. To be deleted when kombu
is fixed: the version check makes the mend a no-op then, and its test says so.
"""

from __future__ import annotations

from typing import Any

import kombu
from kombu.transport import redis as transport
from redis.exceptions import ConnectionError as RedisConnectionError

MENDED_VERSION = "5.7.0"


def mend_redis_transport() -> bool:
    """Mend the channel class once, in the version that needs it; True when it did."""
    original = transport.Channel._connparams  # noqa: SLF001 there is no public place for it
    if kombu.__version__ != MENDED_VERSION or getattr(original, "mended", False):
        return False

    def connection_parameters(self: Any, *args: Any, **options: Any) -> Any:
        if getattr(self.connection, "client", None) is None:
            raise RedisConnectionError("the channel's connection is gone")
        return original(self, *args, **options)

    connection_parameters.mended = True  # type: ignore[attr-defined]
    transport.Channel._connparams = connection_parameters  # noqa: SLF001
    return True
