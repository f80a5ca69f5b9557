"""The simulated Pinterest in a process of its own, only counting, whose CPU can be told apart."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGTERM
from typing import NamedTuple

from app.pinterest.client import PinterestClient
from app.pinterest.wire import Patience
from app.sandbox.children import tethered
from app.sandbox.pinterest import DEFAULT_AD_ACCOUNT, DEFAULT_TOKEN

PATIENCE = Patience(connect=5, read=30, in_all=60)
ONE_RECORD = b"0" * 40


class RunningPinterest(NamedTuple):
    base_url: str
    pid: int

    @property
    def inspect_url(self) -> str:
        return self.base_url.replace("/v5", "/_sandbox")


@contextmanager
def running_pinterest(writes_per_minute: int = 0) -> Iterator[RunningPinterest]:
    """It answers until the block ends; without a quota of writes where that is 0."""
    command = [sys.executable, "-m", "app.sandbox.pinterest", "--port", "0", "--count-only"]
    command += ["--writes-per-minute", str(writes_per_minute), "--reads-per-minute", "0"]
    with subprocess.Popen(
        tethered(command, None, SIGTERM), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            if not said:
                raise RuntimeError("the simulator did not start")
            yield RunningPinterest(said.split()[-1], process.pid)
        finally:
            process.terminate()


def make_lists(base_url: str, wanted: list[tuple[str, str]]) -> list[str]:
    """Make lists there, each with a name and a type and one record; their ids."""
    client = PinterestClient(base_url, DEFAULT_AD_ACCOUNT, DEFAULT_TOKEN, PATIENCE)
    ids = []
    for name, list_type in wanted:
        answer = client.create_list(name, list_type, ONE_RECORD)
        assert answer.ok, answer
        ids.append(str(answer.body["id"]))
    client.close()
    return ids
