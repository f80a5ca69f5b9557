"""How long logins live, when they are renewed, and what a grant's reply says."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.logins import AT_LEAST_APART, Login, in_words, renewal_due_at, warning_days
from app.pinterest.oauth import consent_address, read_tokens

NOW = datetime(2026, 11, 24, tzinfo=UTC)
DAY = timedelta(days=1)
GIVEN = {"access_token": "pina_1", "refresh_token": "pinr_1", "expires_in": 2_592_000}


def login(**changes: Any) -> Login:
    usual: dict[str, Any] = {
        "access": "pina_1",
        "access_expires_at": NOW + 30 * DAY,
        "refresh": "pinr_1",
        "refresh_expires_at": NOW + 60 * DAY,
        "obtained_at": NOW,
    }
    return Login(**usual | changes)


def test_tokens_are_renewed_at_half_of_the_shorter_life() -> None:
    assert renewal_due_at(login(), 0) == NOW + 15 * DAY
    assert renewal_due_at(login(refresh_expires_at=NOW + 20 * DAY), 0) == NOW + 10 * DAY


def test_jitter_only_ever_makes_a_renewal_earlier() -> None:
    due = renewal_due_at(login(), 0.99)
    assert due is not None
    assert NOW + 13 * DAY < due < NOW + 15 * DAY


@given(st.floats(0, 60), st.floats(0, 0.999))
def test_a_refresh_token_whose_end_never_moves_is_not_renewed_without_end(
    left: float, chance: float
) -> None:
    due = renewal_due_at(login(refresh_expires_at=NOW + left * DAY), chance)
    assert due is not None
    assert due >= NOW + AT_LEAST_APART


def test_without_a_refresh_token_nothing_is_renewed() -> None:
    assert renewal_due_at(login(refresh=None), 0) is None


def test_a_token_without_a_known_end_is_renewed_all_the_same() -> None:
    assert renewal_due_at(login(access_expires_at=None), 0) == NOW + 7 * DAY


@pytest.mark.parametrize(
    ("left", "warned"), [(14.1, None), (14, 14), (7.1, 14), (7, 7), (3, 3), (1, 1), (-5, 1)]
)
def test_warnings_come_14_7_3_and_1_days_before_the_end(left: float, warned: int | None) -> None:
    assert warning_days(login(refresh_expires_at=NOW + left * DAY), NOW) == warned


def test_a_login_in_words_says_how_long_it_lives_and_never_a_token() -> None:
    assert in_words(login(), NOW) == "renewed by itself, good for 60 days"
    assert in_words(login(refresh=None), NOW) == "not renewed, ends in 30 days"
    assert in_words(login(failures=3), NOW) == "renewal failed 3 times, ends in 60 days"
    assert "file" in in_words(login(refresh=None, access_expires_at=None), NOW)
    assert "pin" not in repr(login()).replace("Login", "")


def test_a_reply_is_read_by_the_databases_clock() -> None:
    body = GIVEN | {"refresh_token_expires_in": 5_184_000, "scope": "ads:read,ads:write"}
    tokens = read_tokens(body, NOW)
    assert tokens is not None
    assert tokens.access_expires_at == NOW + 30 * DAY
    assert tokens.refresh_expires_at == NOW + 60 * DAY
    assert tokens.scopes == "ads:read ads:write"


@pytest.mark.parametrize("life", ["2592000", 2_592_000, 2_592_000.0])
def test_lifetimes_may_come_as_text(life: object) -> None:
    tokens = read_tokens(GIVEN | {"expires_in": life}, NOW)
    assert tokens is not None
    assert tokens.access_expires_at == NOW + 30 * DAY


@pytest.mark.parametrize("life", [None, "soon", "", [], 1e300, "nan"])
def test_a_lifetime_that_cannot_be_read_is_unknown(life: object) -> None:
    tokens = read_tokens(GIVEN | {"expires_in": life}, NOW)
    assert tokens is not None
    assert tokens.access_expires_at is None


@pytest.mark.parametrize("access", [None, "", 5, "two words", "line\nbreak", "ünicode"])
def test_a_reply_without_a_usable_access_token_is_none(access: object) -> None:
    assert read_tokens(GIVEN | {"access_token": access}, NOW) is None


def test_the_consent_page_is_asked_for_the_scopes_with_the_state() -> None:
    address = consent_address(
        "https://www.pinterest.com/oauth/", "15", "http://localhost:1/", "s&1"
    )
    query = parse_qs(urlsplit(address).query)
    assert query == {
        "client_id": ["15"],
        "redirect_uri": ["http://localhost:1/"],
        "response_type": ["code"],
        "scope": ["ads:read,ads:write"],
        "state": ["s&1"],
    }
