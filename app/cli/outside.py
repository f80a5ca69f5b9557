"""What commands need from the layer above, handed in by ``workers.console``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from app.deployment import Deployment
from app.doorbell import Doorbell, SilentDoorbell
from app.errors import ConfigError
from app.settings import Settings, load_settings


@dataclass
class DeadLetters:
    """What became of the dead letters when they were sealed anew."""

    resealed: int = 0
    left: Counter[str] = field(default_factory=Counter)
    """Those that could not be opened, by the id of the key that they name."""


class Broker(Protocol):
    """The broker as the command line uses it."""

    def doorbell(self, settings: Settings) -> Doorbell: ...

    def workers_answering(self, settings: Settings, timeout: float) -> list[str]:
        """Names of the workers that answer; raises Unavailable when the broker is away."""

    def consume(self, deployment: Deployment, connection_id: int | None) -> int:
        """Stage membership messages until told to stop; returns how many messages."""

    def serve(self, host: str, port: int, processes: int) -> None:
        """Serve HTTP until told to stop."""

    def reseal_dead_letters(self, settings: Settings) -> DeadLetters:
        """Seal the dead letters with the newest key; raises Unavailable without the broker."""


@dataclass
class Outside:
    broker: Broker

    @cached_property
    def settings(self) -> Settings:
        return load_settings()

    @cached_property
    def deployment(self) -> Deployment:
        """The installation, its schema checked. Raises PinfoldError with the fix."""
        deployment = Deployment(self.settings)
        deployment.require_schema()
        return deployment

    def doorbell(self) -> Doorbell:
        """The doorbell, or a silent one where no broker is set: beat will notice."""
        try:
            return self.broker.doorbell(self.settings)
        except ConfigError:
            return SilentDoorbell()
