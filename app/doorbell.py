"""The doorbell: tells a worker to look now. What has to happen stands in Postgres already.

A ring may be lost, doubled or late: the due check finds everything again. Steps never wait for
one for long, and a ring that cannot be published is only logged.
"""

from __future__ import annotations

from typing import Protocol


class Doorbell(Protocol):
    def flush(self, audience_id: int) -> None:
        """Have a worker look whether this audience is due."""

    def deliver(self, list_id: int) -> None:
        """Have a worker look what waits for this list."""


class SilentDoorbell:
    """For processes without a broker: the next due check will notice."""

    def flush(self, audience_id: int) -> None: ...

    def deliver(self, list_id: int) -> None: ...
