"""Memory of a flush over the idle process, each measured in a fresh process.

Idle is the process with everything imported, the keys checked and its connection open; the peak is
the highest resident set until all is flushed. Run with a request on standard input, this module is
the process that is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median
from typing import Any

import psutil

from app.database import transaction
from app.deployment import Deployment
from app.settings import Settings
from tests.benchmarks import harness
from tests.benchmarks.events import Sample
from tests.benchmarks.flushing import EMPTY_LANES, Flushing, flush_all
from tests.benchmarks.harness import Row, Sizes, at_most
from tests.benchmarks.installation import Ground

SMALL_SHARE = 10
"""The small flush has a tenth of the events."""
MB = 1 << 20
_STATUS, _FORGET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def extra_mb(flushing: Flushing) -> float:
    """Flush everything in a fresh process; the most it took over what it took when idle."""
    flushing.put_back("staged_chunk", "kept_chunk", "id")
    settings = flushing.place.deployment.settings
    request = {
        "audience_id": flushing.audience_id,
        "settings": {
            "database_url": settings.database_url,
            "keys": settings.require_keys(),
            "flush_messages": settings.flush_messages,
        },
    }
    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.memory"],
        input=json.dumps(request),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    reply = json.loads(ran.stdout)
    assert reply["messages"] == flushing.sample.count
    return float(reply["extra_bytes"]) / MB


def main(request: dict[str, Any]) -> dict[str, int]:
    """What the measured process does."""
    deployment = Deployment(Settings.model_validate(request["settings"]))
    assert deployment.keyring.key_ids

    def empty_lanes() -> None:
        with transaction(deployment.engine) as tx:
            tx.exec_driver_sql(EMPTY_LANES)

    idle = psutil.Process().memory_info().rss
    if _FORGET_PEAK.exists():
        _FORGET_PEAK.write_text("5")
    messages, _ = flush_all(deployment, request["audience_id"], empty_lanes)
    return {"messages": messages, "extra_bytes": _peak_bytes() - idle}


def _peak_bytes() -> int:
    """The highest resident set of this process. On Linux getrusage would count the parent's too."""
    if _STATUS.exists():
        (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) << 10
    return getrusage(RUSAGE_SELF).ru_maxrss  # bytes on macOS


def measure(ground: Ground, sizes: Sizes) -> list[Row]:
    few = sizes.events // SMALL_SHARE
    with ground.place(flush_messages=1) as large, ground.place(flush_messages=1) as small:
        many_waiting = Flushing(large, Sample(sizes.events, 1), per_chunk=1_000)
        few_waiting = Flushing(small, Sample(few, 1), per_chunk=1_000)
        taken = harness.interleave(
            sizes.rounds,
            {
                f"{sizes.events:,} events": lambda: extra_mb(many_waiting),
                f"{few:,} events": lambda: extra_mb(few_waiting),
            },
        )
        many_waiting.close()
        few_waiting.close()
    much, little = taken.values()
    return [
        Row(
            f"memory of a flush of {sizes.events:,} over the idle process", much, "MB", at_most(96)
        ),
        Row(
            f"  against a flush of {few:,}",
            [more / less for more, less in zip(much, little, strict=True)],
            "x",
            at_most(1.5) if sizes.judged else None,
            ours=f"{median(much):.0f} MB",
            yardstick=f"{median(little):.0f} MB",
            rounds={"ours MB": much, "yardstick MB": little},
        ),
    ]


if __name__ == "__main__":
    print(json.dumps(main(json.load(sys.stdin))))
