"""The console script ``pinfold``: the command line, joined with the broker.

The one place where ``app`` and the broker meet on behalf of people. Celery and kombu are imported
when a command needs them, so that `pinfold status` starts quickly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app import cli
from app.cli.outside import Outside
from app.errors import Unavailable
from workers.ending import end_undisturbed

if TYPE_CHECKING:
    from app.cli.outside import DeadLetters
    from app.deployment import Deployment
    from app.doorbell import Doorbell
    from app.settings import Settings


class CeleryBroker:
    """The broker as the command line uses it."""

    def doorbell(self, settings: Settings) -> Doorbell:
        from celery import Celery  # noqa: PLC0415

        from workers.configuration import configuration  # noqa: PLC0415
        from workers.doorbell import CeleryDoorbell  # noqa: PLC0415

        return CeleryDoorbell(Celery("pinfold", config_source=configuration(settings)), settings)

    def workers_answering(self, settings: Settings, timeout: float) -> list[str]:
        from celery import Celery  # noqa: PLC0415

        from workers.configuration import configuration  # noqa: PLC0415
        from workers.doorbell import workers_answering  # noqa: PLC0415

        celery_app = Celery("pinfold", config_source=configuration(settings))
        try:
            with celery_app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=timeout)
            return workers_answering(celery_app, timeout)
        except Exception as problem:  # noqa: BLE001 each transport has errors of its own
            kind = type(problem).__name__
            raise Unavailable(f"the broker cannot be reached ({kind})") from None

    def consume(self, deployment: Deployment, connection_id: int | None) -> int:
        from workers.intake import consume  # noqa: PLC0415

        return consume(deployment, connection_id)

    def serve(self, host: str, port: int, processes: int) -> None:
        from workers.http import serve  # noqa: PLC0415

        serve(host, port, processes)

    def reseal_dead_letters(self, settings: Settings) -> DeadLetters:
        from workers.dead_letters import reseal_dead_letters  # noqa: PLC0415

        return reseal_dead_letters(settings)


def main() -> None:
    end_undisturbed()
    cli.run(Outside(CeleryBroker()))


if __name__ == "__main__":
    main()
