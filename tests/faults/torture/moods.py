"""What Pinterest does wrong: moods, of which one follows another every few seconds."""

from __future__ import annotations

from typing import Any

from app.sandbox.pinterest import PinterestSimulator
from tests.faults.torture.conditions import AUDIENCES
from tests.faults.torture.people import poison_of

LATEST_S = 12.0
"""Until what was never answered is applied: within the quarantine, with room to spare."""
LATE = {"late": 0.2}
MOODS: dict[str, dict[str, float]] = {
    "calm": {"slow": 0.05},
    "losing answers": {
        **dict.fromkeys(("drop_before", "drop_after", "reset_after", "half_status"), 0.03),
        **dict.fromkeys(("server_error", "server_error_after", "slow"), 0.03),
        **LATE,
    },
    "late": {"late": 0.4},
    "garbled": {
        **dict.fromkeys(("created", "truncated", "garbage", "html", "drip"), 0.06),
        **LATE,
        "huge": 0.01,
    },
    "refusing": {
        **dict.fromkeys(("rate_limited", "transient_400", "bad_request", "too_large"), 0.03),
        **dict.fromkeys(("unavailable", "conflict"), 0.03),
        **dict.fromkeys(("expired_token", "missing_scope", "forbidden", "gone"), 0.01),
        **dict.fromkeys(("teapot", "redirect"), 0.01),
    },
}
OPTIONS: dict[str, dict[str, Any]] = {
    "late": {"seconds": LATEST_S},
    "slow": {"seconds": 0.6},
    "drip": {"seconds": 0.05},
    "huge": {"size": 3 << 20},
    "rate_limited": {"reset": 1},
    "unavailable": {"retry_after": "1"},
}


def fall_into(simulator: PinterestSimulator, mood: str, seed: int, *, late: bool = True) -> None:
    """Misbehave in another way from now on; poison is refused in every mood.

    ``late``: whether anything may take effect after its caller has gone.
    """
    chances = {name: chance for name, chance in MOODS[mood].items() if late or name != "late"}
    simulator.faults.probability(chances, seed=seed, operation="any", options=OPTIONS)


def refuse_poison(simulator: PinterestSimulator) -> None:
    """From now on and for ever."""
    simulator.faults.script(
        "refuse_records",
        times=None,
        operation="patch",
        records=poison_of(next(iter(AUDIENCES))),
    )


def behave(simulator: PinterestSimulator) -> None:
    """End all misbehaviour but the refusal of poison."""
    simulator.faults.clear()
    refuse_poison(simulator)
