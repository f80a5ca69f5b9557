"""The command line, whose intake dies right before and right after it stages a batch.

    python -m tests.faults.torture.haunted_console intake
    python -m tests.faults.torture.haunted_console api

The module is run anew in each process of the HTTP service, which is how the curse gets there.
"""

from __future__ import annotations

import app.remembering
import workers.intake
from tests.faults.torture.curse import Curse
from workers.console import main

AT_STAGING = 0.002


def haunt() -> None:
    curse = Curse("console")
    workers.intake.stage = curse.around(workers.intake.stage, "staging a batch", 5 * AT_STAGING)
    app.remembering.stage = curse.around(app.remembering.stage, "staging a call", AT_STAGING)


haunt()
if __name__ == "__main__":
    main()
