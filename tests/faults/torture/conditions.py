"""The conditions of a run: its times, its sizes, who is connected, what runs."""

from __future__ import annotations

TOKEN = "pina_torture"
BATCH = 20
TIMES = {
    "PINFOLD_CONNECT_TIMEOUT": "0.5",
    "PINFOLD_READ_TIMEOUT": "1",
    "PINFOLD_CALL_DEADLINE": "1.5",
    "PINFOLD_DEAD_MAN": "2.5",
    "PINFOLD_LEASE": "3",
    "PINFOLD_QUARANTINE": "13",
    "PINFOLD_FLUSH_AGE": "14",
    "PINFOLD_CHECK_INTERVAL": "1",
    "PINFOLD_SLICE": "0.5",
    "PINFOLD_BACKOFF_FIRST": "0.2",
    "PINFOLD_BACKOFF_MOST": "2",
    "PINFOLD_CANARY_INTERVAL": "5",
    "PINFOLD_OBSERVE_INTERVAL": "20",
}
SIZES = {
    "PINFOLD_WRITES_PER_MINUTE": "60000",
    "PINFOLD_READS_PER_MINUTE": "60000",
    "PINFOLD_RECORDS_PER_REQUEST": str(BATCH),
    "PINFOLD_FLUSH_MESSAGES": "10",
    "PINFOLD_WINDOW_MESSAGES": "150",
}
LEASE_S = float(TIMES["PINFOLD_LEASE"])
QUARANTINE_S = float(TIMES["PINFOLD_QUARANTINE"])
CAPS_PER_SECOND: dict[str, dict[str, float]] = {
    "main": {},
    "small": {"record_cap": 1.5},
    "reserving": {"record_cap": 3, "removal_reserve": 1},
}
"""The settings of each connection, for each second of the run: reached before its end."""
AUDIENCES = {"7001": "main", "7002": "main", "7003": "small", "7004": "reserving"}
"""The connection of each audience."""
WORKERS, BEATS = ("worker-a", "worker-b"), ("beat-a", "beat-b", "beat-astray")
