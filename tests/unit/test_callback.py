"""The loopback address: one answer, with the right state, from the browser of this machine."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from app.callback import Callback, read_answer
from app.errors import ConfigError, Refused

STATE = "the-right-state"
GOOD = f"http://localhost:8085/?code=abc&state={STATE}"


def test_the_code_is_read_from_the_address_that_the_browser_shows() -> None:
    assert read_answer(f"  {GOOD}\n", STATE) == "abc"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://localhost:8085/?code=abc&state=another", "another login"),
        ("http://localhost:8085/?code=abc", "another login"),
        ("", "another login"),
        ("abc", "another login"),
        (f"http://localhost:8085/?state={STATE}", "no code"),
        (f"http://localhost:8085/?error=access_denied&state={STATE}", "denied"),
    ],
)
def test_any_other_answer_is_refused_with_the_reason(address: str, said: str) -> None:
    with pytest.raises(Refused, match=said) as caught:
        read_answer(address, STATE)
    assert "abc" not in str(caught.value)


@pytest.fixture
def callback() -> Iterator[Callback]:
    with Callback(0, STATE) as waiting:
        yield waiting


def get(callback: Callback, path: str) -> requests.Response:
    return requests.get(f"http://127.0.0.1:{callback.port}{path}", timeout=10)


def test_the_browser_ends_on_a_page_without_the_code(callback: Callback) -> None:
    with ThreadPoolExecutor(1) as pool:
        browser = pool.submit(get, callback, f"/?code=abc&state={STATE}")
        assert callback.wait(10) == "abc"
        page = browser.result()
    assert page.status_code == 200
    assert page.url.endswith("/done")
    assert "abc" not in page.text
    assert page.headers["Cache-Control"] == "no-store"


def test_an_answer_to_another_login_is_turned_away_and_the_right_one_still_taken(
    callback: Callback,
) -> None:
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(callback.wait, 10)
        assert get(callback, "/?code=evil&state=guessed").status_code == 400
        assert get(callback, "/favicon.ico").status_code == 400
        browser = pool.submit(get, callback, f"/?code=abc&state={STATE}")
        assert waiting.result() == "abc"
        assert browser.result().status_code == 200


def test_the_first_answer_counts_and_a_second_one_changes_nothing(callback: Callback) -> None:
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(callback.wait, 10)
        first = get_without_following(callback, f"/?code=abc&state={STATE}")
        second = get_without_following(callback, f"/?code=later&state={STATE}")
        assert (first, second) == (303, 303)
        assert waiting.result() == "abc"


def get_without_following(callback: Callback, path: str) -> int:
    address = f"http://127.0.0.1:{callback.port}{path}"
    return requests.get(address, timeout=10, allow_redirects=False).status_code


def test_a_login_that_was_denied_ends_the_wait_at_once(callback: Callback) -> None:
    with ThreadPoolExecutor(1) as pool:
        browser = pool.submit(get, callback, f"/?error=access_denied&state={STATE}")
        with pytest.raises(Refused, match="denied"):
            callback.wait(10)
        assert browser.result().status_code == 200


def test_nobody_comes_and_the_wait_ends(callback: Callback) -> None:
    with pytest.raises(Refused, match="nobody allowed"):
        callback.wait(0.01)


def test_a_port_that_is_taken_is_named(callback: Callback) -> None:
    with pytest.raises(ConfigError, match=f"port {callback.port} is taken"):
        Callback(callback.port, STATE)
