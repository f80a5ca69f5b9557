"""The HTTP service as `pinfold api` runs it: a process of its own, whose memory can be measured."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import requests

from app.sandbox.stack import free_port
from tests.service import Service
from tests.workshop import Workshop, environment_of

START_S = 30.0


class ServiceProcess(Service):
    """A service in another process."""

    def __init__(self, workshop: Workshop, port: int, pid: int) -> None:
        super().__init__(workshop.deployment, port)
        self._status = Path(f"/proc/{pid}/status")
        self._forget = Path(f"/proc/{pid}/clear_refs")
        self.process = psutil.Process(pid)

    def forget_peak(self) -> int:
        """Begin to watch its memory; returns the bytes it has now."""
        self._forget.write_text("5")
        return self._bytes("VmRSS")

    def peak(self) -> int:
        """The most bytes of memory it had since then."""
        return self._bytes("VmHWM")

    def _bytes(self, name: str) -> int:
        (line,) = [each for each in self._status.read_text().splitlines() if each.startswith(name)]
        return int(line.split()[1]) << 10


@contextmanager
def service_process(workshop: Workshop, log: Path) -> Iterator[ServiceProcess]:
    """`pinfold api` over the workshop's database until the block ends."""
    port = free_port(0)
    command = [sys.executable, "-m", "workers.console", "api", "--port", str(port)]
    outer = {name: text for name, text in os.environ.items() if not name.startswith("PINFOLD_")}
    environment = outer | environment_of(workshop.deployment.settings)
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process,
    ):
        service = ServiceProcess(workshop, port, process.pid)
        try:
            _wait(service, process)
            yield service
        finally:
            service.close()
            process.terminate()
            try:
                process.wait(START_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(service: Service, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while True:
        assert process.poll() is None, "the service ended early"
        assert time.monotonic() < deadline, "the service does not start"
        try:
            service.get("/healthz")
        except requests.ConnectionError:
            time.sleep(0.05)
        else:
            return
