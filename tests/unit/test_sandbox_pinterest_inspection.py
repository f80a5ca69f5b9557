"""The simulated Pinterest from behind: inspection, thrift, ending, and life as a process."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from app.sandbox.pinterest import Behaviour, PinterestSimulator
from tests.pinterest_caller import ACCOUNT, Caller, calling


@pytest.fixture
def pinterest() -> Iterator[Caller]:
    with calling() as caller:
        yield caller


def test_the_inspection_route_shows_the_books_and_stands_in_none(pinterest: Caller) -> None:
    list_id = pinterest.create("b,a,a", list_type="MAID")
    pinterest.patch(list_id, "REMOVE", "c")
    summary = pinterest.inspect("GET", "/summary").json()
    assert summary["requests"] == 2
    (shown,) = summary["lists"]
    assert (shown["name"], shown["list_type"], shown["members"]) == ("VIP", "MAID", 2)
    assert pinterest.inspect("GET", f"/lists/{list_id}/members").text == "a\nb\n"
    lines = pinterest.inspect("GET", "/requests?after=1").text.splitlines()
    assert len(lines) == 1
    assert '"operation_type": "REMOVE"' in lines[0]
    assert 'records":' not in lines[0]
    assert "pina_test" not in lines[0]
    assert '"records": "c"' in pinterest.inspect("GET", "/requests?records=1").text
    assert pinterest.inspect("GET", "/lists/1/members").status_code == 404
    assert pinterest.inspect("GET", "/nothing").status_code == 404


def test_the_inspection_route_sets_and_clears_faults(pinterest: Caller) -> None:
    list_id = pinterest.create("a")
    fault = {"fault": "refuse_records", "times": None, "records": ["bad"]}
    assert pinterest.inspect("POST", "/faults", json=fault).status_code == 204
    assert pinterest.patch(list_id, "ADD", "bad").status_code == 400
    chances = {"probability": {"teapot": 1.0}, "seed": 1, "operation": "get_list"}
    assert pinterest.inspect("POST", "/faults", json=chances).ok
    assert pinterest.lists("GET", f"/{list_id}").status_code == 418
    assert pinterest.inspect("DELETE", "/faults").ok
    assert pinterest.patch(list_id, "ADD", "bad").ok
    assert pinterest.lists("GET", f"/{list_id}").ok


def test_the_inspection_route_changes_lists_tokens_and_switches(pinterest: Caller) -> None:
    list_id = pinterest.create("a")
    nudge = {"batches": 2, "uploaded": 5}
    assert pinterest.inspect("POST", f"/lists/{list_id}/nudge", json=nudge).ok
    seen = pinterest.lists("GET", f"/{list_id}").json()
    assert (seen["num_batches"], seen["num_uploaded_user_records"]) == (3, 6)
    assert pinterest.inspect("PATCH", "/behaviour", json={"max_records": 1}).ok
    assert pinterest.patch(list_id, "ADD", "b,c").status_code == 413
    assert pinterest.inspect("PATCH", "/behaviour", json={"clock": 1}).status_code == 400
    assert pinterest.inspect("DELETE", f"/lists/{list_id}").ok
    assert pinterest.lists("GET", f"/{list_id}").status_code == 404
    assert pinterest.books.membership(list_id) == {"a"}
    assert pinterest.inspect("POST", "/codes", json={"code": "c-1"}).ok
    form = {"grant_type": "authorization_code", "code": "c-1", "redirect_uri": "https://a.b"}
    assert pinterest.token(form).ok
    assert pinterest.inspect("POST", "/refresh_tokens", json={"refresh_token": "pinr_2"}).ok
    assert pinterest.token({"grant_type": "refresh_token", "refresh_token": "pinr_2"}).ok
    state = {"token": "pina_test", "state": "expired"}
    assert pinterest.inspect("POST", "/tokens", json=state).ok
    assert pinterest.lists("GET").status_code == 401


# Thrift, ending, and the process.


def test_records_are_kept_only_as_far_as_wanted() -> None:
    with calling(keep_history=False) as forgetful:
        list_id = forgetful.create("a,b")
        (write,) = forgetful.books.writes(list_id)
        assert (write.digests, write.record_count) == ([], 2)
        assert forgetful.books.membership(list_id) == {"a", "b"}
    with calling(count_only=True) as counting:
        list_id = counting.create("a,b, ,b,")
        for records in ("c,d", "c,d,", ",c,d"):
            assert counting.patch(list_id, "ADD", records).ok
        assert counting.books.membership(list_id) == set()
        assert counting.books.records_applied(list_id) == 9


def test_it_refuses_connections_when_stopped_and_remembers_when_started_again() -> None:
    simulator = PinterestSimulator(behaviour=Behaviour())
    url = f"{simulator.base_url}/ad_accounts/{ACCOUNT}/customer_lists"
    body = {"name": "VIP", "records": "a"}
    with requests.Session() as session:
        session.headers["Authorization"] = "Bearer pina_test"
        with pytest.raises(requests.ConnectionError):
            session.post(url, json=body, timeout=5)
        with simulator:
            assert session.post(url, json=body, timeout=5).ok
        with pytest.raises(requests.ConnectionError):
            session.post(url, json=body, timeout=5)
        with simulator:
            assert len(session.get(url, timeout=5).json()["items"]) == 1


def test_the_process_lets_people_log_in_and_counts_like_a_trial_app() -> None:
    command = [sys.executable, "-m", "app.sandbox.pinterest", "--port", "0", "--trial"]
    command += ["--app-id", "77", "--app-secret", "s", "--redirect-uri", "http://localhost:9/"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().split()[-1]
        asked = {"client_id": "77", "redirect_uri": "http://localhost:9/", "scope": "ads:read"}
        asked |= {"response_type": "code", "decision": "allow"}
        page = base_url.removesuffix("/v5") + "/oauth/"
        back = requests.post(page, data=asked, timeout=5, allow_redirects=False)
        code = back.headers["Location"].partition("code=")[2]
        form = {"grant_type": "authorization_code", "code": code}
        form |= {"redirect_uri": "http://localhost:9/"}
        reply = requests.post(f"{base_url}/oauth/token", data=form, auth=("77", "s"), timeout=5)
        bearer = {"Authorization": f"Bearer {reply.json()['access_token']}"}
        seen = requests.get(f"{base_url}/ad_accounts", headers=bearer, timeout=5)
        assert seen.json()["items"][0]["permissions"] == ["OWNER"]
        assert int(seen.headers["x-ratelimit-reset"]) > 60, "the window is a day"
        assert requests.get(
            f"{base_url}/ad_accounts/549770000001/customer_lists",
            headers={"Authorization": "Bearer pina_test"},
            timeout=5,
        ).ok, "a token of the start belongs to the app of the start"
        process.terminate()
        assert process.wait(timeout=10) == 0


def test_books_that_were_saved_keep_what_is_still_under_way(
    pinterest: Caller, tmp_path: Path
) -> None:
    pinterest.behaviour.counter_delay = 30
    list_id = pinterest.create("a")
    pinterest.patch(list_id, "ADD", "b")
    pinterest.books.save(tmp_path / "books.json")
    pinterest.books.load(tmp_path / "books.json")
    assert pinterest.lists("GET", f"/{list_id}").json()["num_batches"] == 1
    pinterest.patch(list_id, "REMOVE", "a")
    pinterest.clock.now += 60
    shown = pinterest.lists("GET", f"/{list_id}").json()
    assert (shown["num_batches"], shown["status"]) == (3, "TOO_SMALL")
    assert pinterest.books.membership(list_id) == {"b"}


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_the_process_says_when_it_is_ready_ends_when_asked_and_keeps_its_books(
    tmp_path: Path, ending: signal.Signals
) -> None:
    books = tmp_path / "books.json"
    command = [sys.executable, "-m", "app.sandbox.pinterest", "--port", "0", "--token", "t-1"]
    command += ["--ad-account", "77", "--books", str(books), "--ready-after", "0"]
    for lists_before in (0, 1):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            base_url = process.stdout.readline().split()[-1]
            url = f"{base_url}/ad_accounts/77/customer_lists"
            bearer = {"Authorization": "Bearer t-1"}
            page = requests.get(url, headers=bearer, timeout=5).json()
            assert len(page["items"]) == lists_before
            body = {"name": "VIP", "records": "a"}
            made = requests.post(url, json=body, headers=bearer, timeout=5).json()
            assert made["status"] == "TOO_SMALL"
            process.send_signal(ending)
            assert process.wait(timeout=10) == 0
