"""`celery` with a clock that can be set: run with the file that says how far off it is.

libfaketime, which turns the clock of Postgres, makes Python's sleep fail, so this turns Celery's.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

from celery import Celery
from celery.bin.celery import main

true_now = Celery.now


def now(app: Celery) -> datetime:
    off_by: timedelta = timedelta(seconds=float(Path(sys.argv[0]).read_text()))
    return true_now(app) + off_by


if __name__ == "__main__":
    del sys.argv[0]
    Celery.now = now
    sys.exit(main())
