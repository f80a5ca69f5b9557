"""How long to wait after failures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backoff import pause
from app.settings import Settings

USUAL = Settings()
NO_JITTER = 0.0


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(1, 30), (2, 60), (3, 120), (4, 240), (7, 1_920), (8, 3_600), (9, 3_600), (10**6, 3_600)],
)
def test_pauses_double_up_to_an_hour(failures: int, seconds: float) -> None:
    assert pause(failures, USUAL, NO_JITTER) == seconds


@given(st.integers(-3, 10**9), st.floats(0, 1, exclude_max=True))
def test_jitter_takes_off_half_at_most(failures: int, chance: float) -> None:
    whole = pause(failures, USUAL, NO_JITTER)
    assert whole / 2 <= pause(failures, USUAL, chance) <= whole <= USUAL.backoff_most


def test_lists_that_failed_together_do_not_come_back_together() -> None:
    assert len({pause(5, USUAL) for _ in range(20)}) > 1
