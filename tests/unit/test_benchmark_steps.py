"""The profile names functions that there are, adds up, and leaves nothing in their place."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from app import staging
from app.keyring import KeyRing
from app.sandbox.embedded_postgres import PostgresServer
from tests.benchmarks import steps, stopwatch
from tests.benchmarks.harness import Sizes
from tests.benchmarks.installation import Ground
from tests.benchmarks.stopwatch import DELIVERY, FLUSH, STAGING, Stopwatch

FEW = Sizes(rounds=1, events=12_000, judged=False)
OF_IT = (steps.PROCESSOR, steps.WAITING, steps.WATCHING)


@pytest.fixture(scope="module")
def ground(postgres: PostgresServer, migrated_template: str) -> Ground:
    return Ground(postgres, migrated_template)


@pytest.mark.parametrize("functions", [STAGING, FLUSH, DELIVERY])
def test_every_function_that_is_watched_is_there(functions: stopwatch.Steps) -> None:
    """Where one was renamed or went, name in stopwatch.py what does its work now."""
    assert stopwatch.missing(functions) == []


@pytest.mark.parametrize(
    "name",
    [
        "app.staging:sorted_events",
        "app.storing:stage",
        "app.keyring:Ring.open",
        "app.turn:Turn.see",
    ],
)
def test_a_function_that_is_gone_is_named(name: str) -> None:
    assert stopwatch.missing({name: "gone", "app.staging:stage": "there"}) == [name]


def test_every_step_takes_some_of_the_time_and_all_of_them_take_all(ground: Ground) -> None:
    before = vars(staging)["sort_events"], KeyRing.seal
    taken = steps.profile(ground, FEW)
    assert (vars(staging)["sort_events"], KeyRing.seal) == before
    assert json.loads(json.dumps(taken)) == taken
    paths: dict[str, dict[str, steps.Step]] = {each["path"]: {} for each in taken}
    for each in taken:
        paths[each["path"]][each["step"]] = each
    assert [*paths] == [
        "stage, 1k a call",
        "stage, 10k a call",
        "flush of 12,000",
        "flush, 10 a chunk",
        "deliver, 1,900 a request",
        "deliver, 50,000 a request",
    ]
    for path, of_path in paths.items():
        assert all(each["us_per_event"] > 0 for each in of_path.values()), path
        everything = of_path.pop(steps.ALL)
        shares = sum(each["share"] for step, each in of_path.items() if step not in OF_IT)
        assert shares == pytest.approx(everything["share"]) == 1
        assert of_path[steps.ELSE]["share"] < 0.2
        assert (everything["us_per_request"] is None) == (not path.startswith("deliver"))


def test_the_rows_of_the_table_tell_the_same_steps(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Stopwatch()
    watch.wall, watch.processor, watch.seconds["seal"] = 4.0, 1.0, 2.0
    once = steps.Pass({"app.keyring:KeyRing.seal": "seal"}, watch, 1_000_000, 100)
    monkeypatch.setattr(steps, "passes", lambda *_: {"path": [once, once]})
    rows = {row.what: row for row in steps.measure(ground, FEW)}
    assert rows["path: all of it"].figures == [4, 4]
    assert rows["path: seal"].figures == rows["path: everything else"].figures == [2, 2]
    assert rows["path: of it our processor"].figures == [1, 1]
    assert rows["path: of it waiting"].figures == [3, 3]
    assert rows["path: seal"].unit == "us"
    assert rows["path: seal"].ours == "50%, 20000 us a request"
    assert not any(row.must for row in rows.values())


# The stopwatch.


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    moments = [0.0]
    monkeypatch.setattr(stopwatch, "perf_counter", lambda: moments[0])
    return moments


def test_a_step_has_no_time_of_the_steps_within_it(now: list[float]) -> None:
    watch = Stopwatch()

    def take(seconds: float) -> None:
        now[0] += seconds

    inner = watch.timed("inner", take)

    def outer() -> None:
        take(1)
        inner(10)
        inner(20)
        take(2)

    watch.timed("outer", outer)()
    assert watch.seconds == {"inner": 30, "outer": 3}
    assert watch.calls == 3


def test_a_step_that_fails_has_its_time_and_the_failure_goes_on(now: list[float]) -> None:
    watch = Stopwatch()

    def fail() -> None:
        now[0] += 5
        raise LookupError

    with pytest.raises(LookupError):
        watch.timed("failing", fail)()
    assert watch.seconds == {"failing": 5}


def test_of_a_generator_only_the_making_of_its_items_is_timed(now: list[float]) -> None:
    watch = Stopwatch()

    def items() -> Iterator[int]:
        for item in range(3):
            now[0] += 1
            yield item

    for _ in watch.timed("items", items)():
        now[0] += 100
    assert watch.seconds == {"items": 3}


def test_time_in_which_the_processor_rests_is_waiting(
    now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = [0.0]
    monkeypatch.setattr(stopwatch, "process_time", lambda: computed[0])
    watch = Stopwatch()
    with watch.running():
        now[0] += 5
        computed[0] += 2
    taken = steps.Pass({}, watch, 1).seconds()
    assert (taken[steps.WAITING], taken[steps.PROCESSOR]) == (3, 2)


def test_watched_functions_are_put_back_even_after_a_failure() -> None:
    original, seen = staging.stage, []

    def fail_while_watching() -> None:
        with Stopwatch().watching({"app.staging:stage": "stage"}):
            seen.append(staging.stage)
            raise LookupError

    with pytest.raises(LookupError):
        fail_while_watching()
    assert seen != [original]
    assert staging.stage is original
