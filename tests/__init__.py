"""The tests, and what several of them stand on."""

import pytest

# Where something shared finds that a promise is broken, it shows the figures, as a test does.
for part in ("acceptance", "faults", "integration", "service", "workshop"):
    pytest.register_assert_rewrite(f"{__name__}.{part}")
