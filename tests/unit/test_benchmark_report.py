"""The report around the benchmarks: tables, what is written down, growth, guard, and the page."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import pytest

from app.sandbox.embedded_postgres import PostgresServer
from tests.benchmarks import __main__ as command
from tests.benchmarks import (
    blocks,
    full,
    growth,
    installation,
    kept,
    page,
    plots,
    profiles,
    reports,
    sweeps,
    tables,
)
from tests.benchmarks.events import Sample
from tests.benchmarks.harness import Pace, Row, Sizes, at_least, at_most, compared
from tests.benchmarks.installation import Ground
from tests.benchmarks.large_sample import LargeSample
from tests.benchmarks.sweeps import SWEEPS, Load

MEASURED = [Row("speed", [2.0, 1.0, 3.0], "x", at_least(2), "1 us", "2 us", rounds={"a": [1.0]})]


@pytest.fixture
def ground(postgres: PostgresServer, migrated_template: str) -> Ground:
    return Ground(postgres, migrated_template)


# The table.


def test_judged_rows_come_first_and_say_which_row_they_go_on_with() -> None:
    rows = [
        Row("alone", [1.0], "ms"),
        Row("  the same, absolute", [1.0], "ms", at_most(2)),
        Row("  more", [1.0], "ms"),
        Row("judged", [1.0], "x", at_least(2)),
        Row("  of that", [1.0], "x", at_least(1)),
    ]
    judged, beside = tables.judged_first(rows)
    assert [name for name, _ in judged] == ["alone: the same, absolute", "judged", "  of that"]
    assert [name for name, _ in beside] == ["alone", "  more"]
    lines = tables.text_table(rows).splitlines()
    assert [line[:6].strip() for line in lines] == [
        "what",
        "alone:",
        "judged",
        "of t",
        "",
        "alone",
        "more",
    ]


def test_the_table_fits_a_wide_terminal_however_long_a_name_is() -> None:
    name = "a name of many words " * 20
    row = Row(name, [9_999.5] * 3, "k events/s", at_least(1), "1,234 us", "1,234 us", "0.31 us")
    lines = tables.text_table([row]).splitlines()
    assert max(map(len, lines)) <= 170
    assert lines[1].endswith("met")
    assert " ".join(line[: tables.MOST_OF_WHAT].strip() for line in lines[1:]) == name.strip()


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ((3.0, 3.0), "All 2 musts are met."),
        ((3.0, 1.0), "1 of 2 musts are met; not met: second."),
        ((1.0, 1.0), "0 of 2 musts are met; not met: first; second."),
    ],
)
def test_the_last_sentence_names_what_is_not_met(figures: tuple[float, float], said: str) -> None:
    rows = [
        Row(name, [it], "x", at_least(2))
        for name, it in zip(("first", "second"), figures, strict=True)
    ]
    assert (
        tables.summary([*rows, Row("no must", [0.0], "x")], 431.9) == f"{said} It took 7 min 11 s."
    )


# What is written down.


def test_a_row_that_was_written_down_is_judged_anew_when_it_is_read() -> None:
    written = json.loads(json.dumps(reports.from_row(MEASURED[0])))
    assert (written["median"], written["met"]) == (2.0, True)
    assert reports.to_row(written) == MEASURED[0]
    assert not reports.to_row(written | {"figures": [1.0], "met": True}).is_met
    assert reports.to_row(written | {"series": "a field of old"}) == MEASURED[0]


def test_a_comparison_keeps_what_both_sides_took_in_every_round() -> None:
    paces = [Pace(1_000_000, seconds) for seconds in (1.0, 2.0)]
    row = compared("it", paces, [Pace(1_000_000, 6.0)] * 2, paces, None)
    assert row.rounds == {
        "ours us": [1.0, 2.0],
        "yardstick us": [6.0, 6.0],
        "SHA-1 alone us": [1.0, 2.0],
    }


def test_a_report_says_when_on_which_commit_and_on_what_machine(ground: Ground) -> None:
    taken = reports.taken(ground, reports.commit(), 12.34)
    assert taken["date"].endswith("+00:00")
    assert taken["commit"]
    assert taken["seconds"] == 12.3
    machine = taken["machine"]
    assert machine["Postgres"].split(".")[0].isdecimal()
    for name in (
        *reports.SETTINGS,
        "processor",
        "cores",
        "memory",
        "kernel",
        "filesystem",
        "Python",
    ):
        assert machine[name].strip()


@pytest.mark.parametrize(
    ("in_memory", "taken"), [([], "first"), (["first"], "second"), (["first", "second"], None)]
)
def test_the_server_of_the_benchmarks_is_never_kept_in_memory(
    in_memory: list[str], taken: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "first"))
    monkeypatch.setattr(installation, "LASTING", str(tmp_path / "second"))

    def filesystem(directory: Path) -> str:
        return "tmpfs" if directory.name in in_memory else "ext4"

    monkeypatch.setattr(installation, "filesystem", filesystem)
    if taken:
        assert installation.disk_directory() == (tmp_path / taken).resolve()
    else:
        with pytest.raises(RuntimeError, match="every fsync is free"):
            installation.disk_directory()


def test_the_command_writes_its_figures_beside_and_never_those_of_one_group_over_all(
    ground: Ground,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "GROUPS", {"group": lambda *_: MEASURED})
    monkeypatch.setattr(command, "own_ground", lambda: nullcontext(ground))
    assert command.main([]) == 0
    assert command.main(["group"]) == 0
    directory = tmp_path / reports.DIRECTORY
    assert {path.name for path in directory.iterdir()} == {"bench.json", "group.json"}
    assert reports.rows_of(reports.read(directory / "bench.json")) == MEASURED
    said = capsys.readouterr().out.splitlines()
    assert "All 1 musts are met" in said[-2]
    assert said[-1].endswith(f"{reports.DIRECTORY}/group.json.")


class Measuring:
    """A long group that says what its rows are made of."""

    measurements = staticmethod(lambda *_: {"rate": 3.0})
    rows = staticmethod(lambda measured: [Row("rate", [measured["rate"]], "x", at_least(4))])


def test_a_long_group_by_name_keeps_what_its_rows_were_made_of(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(command, "GROUPS", {"group": lambda *_: MEASURED})
    monkeypatch.setattr(command, "LONG", {"invented": Measuring})
    monkeypatch.setattr(command, "own_ground", lambda: nullcontext(ground))

    def written(*groups: str) -> dict[str, Any]:
        command.main([*groups, "--json", str(tmp_path / "it.json")])
        return reports.read(tmp_path / "it.json") or {}

    assert written("invented")["measured"] == {"rate": 3.0}
    assert written("group", "invented")["measured"] == {"invented": {"rate": 3.0}}
    assert "measured" not in written("group")


def test_the_commit_that_is_told_is_the_one_at_the_start(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commits = iter(("first", "second", "third"))
    current = [next(commits)]

    def group(*_: object) -> list[Row]:
        current[0] = next(commits)
        return MEASURED

    monkeypatch.setattr(reports, "commit", lambda: current[0])
    monkeypatch.setattr(command, "GROUPS", {"group": group})
    monkeypatch.setattr(command, "own_ground", lambda: nullcontext(ground))
    command.main(["group", "--json", str(tmp_path / "it.json")])
    assert (reports.read(tmp_path / "it.json") or {})["taken"]["commit"] == "first"


# Growth.


def test_a_large_sample_repeats_its_mix_with_other_people_at_later_times() -> None:
    sample = LargeSample(3_000_000, 10)
    first, second = sample.events(0, 2_000), sample.events(1_000_000, 1_002_000)
    for one, other in zip(first, second, strict=True):
        (mine,), (theirs,) = one.identities, other.identities
        assert (mine.kind, len(mine.value)) == (theirs.kind, len(theirs.value))
        assert (one.audience, one.operation) == (other.audience, other.operation)
        assert other.occurred_at_us - one.occurred_at_us == 1_000_000_000
    people = [
        {event.identities[0].value.strip().lower() for event in events}
        for events in (first, second)
    ]
    assert not people[0] & people[1]
    assert len(people[0]) == len(people[1])
    with pytest.raises(ValueError, match="two parts"):
        sample.events(999_000, 1_001_000)
    with pytest.raises(ValueError, match="at most"):
        LargeSample(11_000_000, 1)


def test_no_size_of_a_sweep_is_beyond_the_largest_and_yardsticks_stop_earlier() -> None:
    against_events = growth.loads(SWEEPS["stage"], 10_000_000)
    assert against_events[10_000] == Load(10_000, 100, 10_000, 10_000)
    assert against_events[10_000_000] == Load(10_000_000, 100, 0, 0)
    assert list(growth.loads(SWEEPS["stage"], 99_999)) == [10_000]
    against_audiences = growth.loads(SWEEPS["stage-audiences"], 10_000_000)
    assert against_audiences[10_000] == Load(1_000_000, 10_000, 1_000_000, 100_000)
    assert list(growth.loads(SWEEPS["stage-audiences"], 2_000)) == [10, 100]


def _swept(series: str, unit: str, costs: dict[int, list[float]]) -> dict[str, Any]:
    points = [growth.Point(series, size, unit, rounds) for size, rounds in costs.items()]
    return {"taken": TAKEN, "points": [point.written() for point in points]}


def test_growth_is_a_ratio_inside_a_round_of_the_largest_size_and_a_hundred_thousand() -> None:
    costs = {10_000: [9.0, 9.0], 100_000: [1.0, 4.0], 10_000_000: [2.0, 4.0]}
    (row,) = growth.verdicts({"flush": _swept("ours", "us per event", costs)})
    assert row.figures == [2.0, 1.0]
    assert row.is_met
    assert "10,000,000 events / 100,000" in row.what
    costs[10_000_000] = [2.0, 8.0]
    assert not growth.verdicts({"flush": _swept("ours", "us", costs)})[0].is_met
    del costs[10_000_000]
    assert growth.verdicts({"flush": _swept("ours", "us", costs)}) == []


@pytest.mark.parametrize("name", ["stage", "due", "flush", "memory"])
def test_a_sweep_measures_every_series_in_every_round(
    name: str, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "EVENTS", (1_000, 2_000, 4_000))
    monkeypatch.setattr(growth, "LEAST_EVENTS", 0)
    monkeypatch.setattr(growth, "MOST_OBJECTS", 1_000)
    points = growth.take(ground, SWEEPS[name], 2_000, 2)
    assert all(len(point.rounds) == 2 and min(point.rounds) > 0 for point in points)
    sizes = {
        series: [point.x for point in points if point.series == series]
        for series in dict.fromkeys(point.series for point in points)
    }
    ours = [measured for series, measured in sizes.items() if series.startswith("ours")]
    assert all(measured == [1_000, 2_000] for measured in ours)
    objects = [measured for series, measured in sizes.items() if series.startswith("ORM")]
    assert objects == ([[1_000]] if name in {"stage", "flush"} else [])


def test_end_to_end_a_yardstick_with_fewer_events_says_so_and_has_fewer_audiences(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, int]] = []

    def noted(count: int, audiences: int) -> Sample:
        made.append((count, audiences))
        return Sample(count, audiences)

    monkeypatch.setattr(sweeps, "Sample", noted)
    with ExitStack() as stack:
        load = Load(2_000, 20, 0, 200)
        cases = SWEEPS["end-to-end-audiences"].prepare(stack, ground, load)
        assert all(case() > 0 for case in cases.values())
    assert made == [(200, 2)]
    assert list(cases) == ["ours", "tidy version, 200 events", "textbook version, 200 events"]


def test_a_sweep_that_is_measured_again_replaces_only_itself(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def prepare(*_: object) -> dict[str, Any]:
        return {"ours": lambda: 1.0}

    monkeypatch.setattr(full, "own_ground", lambda: nullcontext(ground))
    monkeypatch.setitem(SWEEPS, "flush", SWEEPS["flush"]._replace(prepare=prepare))
    reports.write(tmp_path / full.GROWTH, {"due": "kept", "flush": "old"})
    arguments = ["--only", "flush", "--rounds", "2", "--into", str(tmp_path)]
    assert full.main(arguments) == 0
    swept = reports.read(tmp_path / full.GROWTH) or {}
    assert swept["due"] == "kept"
    assert swept["flush"]["points"][0]["rounds"] == [1.0, 1.0]
    monkeypatch.setattr(
        growth, "VERDICTS", (growth.Verdict("flush", "ours", 100_000, at_most(0.5)),)
    )
    assert full.main(arguments) == 1


def test_a_long_group_is_written_down_with_what_its_rows_were_made_of(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(full, "own_ground", lambda: nullcontext(ground))
    monkeypatch.setattr(full, "SWEEPS", {})
    monkeypatch.setattr(full, "LONG", {"invented": Measuring})
    assert full.main(["--only", "invented", "--into", str(tmp_path)]) == 1
    written = reports.read(tmp_path / "invented.json") or {}
    assert written["measured"] == {"rate": 3.0}
    assert written["sizes"]["rounds"] == 3
    assert reports.rows_of(written)[0].what == "rate"
    assert full.main(["--quick", "--only", "invented", "--into", str(tmp_path)]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"invented.json", "quick-invented.json"}


# The guard.


def test_a_ratio_is_lost_below_half_of_the_kept_one() -> None:
    kept_ratios = {"flush: a": 4.0, "flush: b": 0.8}
    assert kept.lost(kept_ratios, {"flush: a": 2.0, "flush: b": 0.4}) == []
    assert kept.lost(kept_ratios, {"flush: a": 1.99, "flush: b": 9.0}) == ["flush: a"]
    assert kept.lost(kept_ratios, {"flush: a": 9.0, "flush: b": 0.39}) == ["flush: b"]


def test_a_loss_must_be_there_again_in_a_second_measurement_of_its_group() -> None:
    asked: list[set[str]] = []

    def again(second: kept.Ratios) -> Any:
        def measured(groups: set[str]) -> kept.Ratios:
            asked.append(groups)
            return second

        return measured

    kept_ratios, seen = {"flush: a": 4.0, "due: b": 4.0}, {"flush: a": 1.0, "due: b": 4.0}
    assert kept.lost_twice(kept_ratios, seen, again({"flush: a": 1.5})) == ["flush: a"]
    assert kept.lost_twice(kept_ratios, seen, again({"flush: a": 2.5})) == []
    assert asked == [{"flush"}, {"flush"}]
    assert kept.lost_twice(kept_ratios, kept_ratios, again({})) == []
    assert len(asked) == 2


def test_only_ratios_to_yardsticks_are_guarded() -> None:
    rows = [
        Row("flush / ORM objects (5 a round)", [2.0, 9.0, 3.0], "x"),
        Row("flush / AES-GCM open of its bodies", [0.1], "x"),
        Row("disk of an event", [0.4], "x", at_most(0.5)),
        Row("due check / count(*), many", [5.0], "x"),
        Row("  the same, absolute", [5.0], "ms"),
    ]
    assert kept.faster("it", rows) == {
        "it: flush / ORM objects (5 a round)": 3.0,
        "it: due check / count(*), many": 5.0,
    }


def test_the_guard_keeps_then_passes_and_fails_on_a_loss_or_on_what_is_measured_no_more(
    ground: Ground,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    ratio = [8.0]

    def group(_: Ground, sizes: Sizes) -> list[Row]:
        assert sizes == kept.SIZES
        return [Row("flush / tuples", [ratio[0]], "x")]

    monkeypatch.setattr(kept, "own_ground", lambda: nullcontext(ground))
    monkeypatch.setattr(kept, "GROUPS", {"flush": group})
    monkeypatch.setattr(kept, "GUARDED", ("flush",))
    file = tmp_path / "kept.json"
    assert kept.main(["--file", str(file)]) == 1
    assert "Nothing is kept yet" in capsys.readouterr().out
    assert kept.main(["--keep", "--file", str(file)]) == 0
    assert kept.main(["--file", str(file)]) == 0
    ratio[0] = 3.9
    assert kept.main(["--file", str(file)]) == 1
    assert "Lost, twice: flush: flush / tuples." in capsys.readouterr().out
    reports.write(file, {"ratios": {"flush: flush / rows": 1.0}})
    assert kept.main(["--file", str(file)]) == 1
    assert "Measured no more: flush: flush / rows" in capsys.readouterr().out


# The page.

TAKEN = {
    "date": "2026-01-02T03:04:05+00:00",
    "commit": "abc",
    "seconds": 90.0,
    "machine": {"processor": "an invented one", "cores": "2"},
}


def _pace(us: float) -> list[Pace]:
    return [Pace(1_000_000, us)]


def _bench() -> dict[str, Any]:
    floor = _pace(0.3)
    rows = [
        compared("stage, 1k a call / ORM add_all", _pace(2), _pace(60), floor, at_least(20)),
        compared("flush of 9 / ORM objects (9 a round)", _pace(1), _pace(20), floor, at_least(30)),
        compared("end to end / textbook version", _pace(4), _pace(200), floor, at_least(30)),
        compared("flush of 9 / tuples", _pace(1), _pace(3), floor, None),
    ]
    return reports.report(TAKEN, Sizes(), rows)


def _crew(rate: float) -> dict[str, Any]:
    cores = {"everybody": 1.9, "workers of flush": 1.0, "postgres": 0.5, "simulator": 0.2}
    return {
        "events_per_s": rate,
        "requests_per_s": 10.0,
        "seconds": 2.0,
        "uploads": 4,
        "cores": cores,
        "tasks": {"flush": {"ran": 9}},
        "wal_bytes_per_event": 80.0,
    }


def _cases() -> Iterator[dict[str, Any]]:
    for round_trip_ms in (0, 200):
        for lists, workers in ((1, 1), (8, 4)):
            yield {
                "round_trip_ms": round_trip_ms,
                "records": 1_900,
                "lists": lists,
                "workers": workers,
                "requests_per_s": 6.0 if lists == 8 else 4.0,
                "allowed_per_s": 6.0,
            }


def _rows_of(what: str) -> list[Row]:
    return [Row(what, [20_000.0], "/s", ours="5/s"), Row("  deadlocks", [0.0], "", at_most(0))]


def _group(
    measured: dict[str, Any] | None = None, rows: Sequence[Row] = MEASURED
) -> dict[str, Any]:
    return reports.report(TAKEN, Sizes(), rows) | ({"measured": measured} if measured else {})


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    """A directory with invented figures of everything that the page has a place for."""
    steps = [Row(f"stage: {step}", [us], "us") for step, us in (("pack", 1.0), ("all of it", 3.0))]
    before = [{"path": "stage", "step": "pack", "us_per_event": 2.5}]
    costs = {100_000: [1.0, 1.1], 1_000_000: [1.2, 1.0], 10_000_000: [1.1, 1.3]}
    crews = {"1 worker": _crew(9e4), "2 workers": _crew(15e4)}
    round_of = {"events": 1_000, "audiences": 3, "chunks": 30, "crews": crews}
    backlog = {"events": [10, 20], "due_ms": [1.0, 2.0], "status_ms": [3.0, 4.0]}
    invented = {
        "bench": _bench(),
        "growth": {name: _swept("ours", sweep.unit, costs) for name, sweep in SWEEPS.items()},
        "steps": reports.report(TAKEN, Sizes(), steps),
        "profile-before": before,
        "workers": _group(
            round_of, _rows_of("1 worker: accepted") + _rows_of("2 workers: accepted")
        ),
        "slow-link": _group({"cases": list(_cases())}, _rows_of("share: 0 ms") + MEASURED),
        "small-chunks": _group({"joined": backlog, "as they came": backlog}),
        "bloat": _group({"events": 100, "live_mb": 1.0, "changing_mb": [2.0, 3.0]}),
    }
    assert invented.keys() == set(page.FILES)
    for name, report in invented.items():
        reports.write(tmp_path / f"{name}.json", report)
    return tmp_path


def test_with_all_figures_no_block_and_no_drawing_of_the_page_is_left_empty(figures: Path) -> None:
    made = page.made_from(figures, page.PAGES)
    text = made[page.PAGES[0]]
    assert page.NOTHING not in text + made[page.PAGES[1]]
    assert "| stage, 1k a call / ORM add_all | 2.00 us | 60.0 us | 0.30 us | 30.0x" in text
    assert "2 of 3 musts are met; not met: flush of 9 / ORM objects (9 a round)." in text
    assert "| stage | pack | 2.500 | 1.000 | 100% |" in text
    assert "| stage | **all of it** | 2.500 | 1.000 |  |" in text
    assert "|  | 1 worker | 2 workers |" in text
    assert "| accepted | 20,000 /s | 20,000 /s |" in text
    assert "| deadlocks | 0, <= 0: met | 0, <= 0: met |" in text
    assert "| 0 ms | 5/s |  | 20,000 /s | 0, <= 0: met |" in text
    assert "| `messages_per_upload` | 2.25 | workers, 2 workers: 9 tasks ran for" in text
    assert "| `flush_us` | 1.00 | seen before: " in text
    drawn = {path.stem for path in made if path.suffix == ".svg"}
    assert drawn == set(page.DRAWINGS)
    for name in drawn:
        assert f"](performance/{name}.svg)" in text


def test_every_table_and_drawing_there_is_stands_on_a_page() -> None:
    text = "".join(each.read_text(encoding="utf-8") for each in page.PAGES)
    for kind, names in (("table", blocks.BLOCKS), ("drawing", page.DRAWINGS)):
        for name in names:
            assert f"<!-- {kind}: {name} -->" in text


def test_what_was_not_measured_is_said_and_nothing_around_a_block_changes() -> None:
    text = "before\n<!-- table: fleet -->\nold\n<!-- end -->\nafter <!-- table: it -->\n"
    expected = (
        f"before\n<!-- table: fleet -->\n{page.NOTHING}\n<!-- end -->\nafter <!-- table: it -->\n"
    )
    assert page.filled(text, {}, []) == expected
    with pytest.raises(KeyError):
        page.filled("<!-- drawing: cats -->\n<!-- end -->", {}, [])


@pytest.mark.parametrize("name", ["workers", "slow-link"])
def test_no_fleet_is_reckoned_without_the_figures_of_uploads_and_requests(
    name: str, figures: Path
) -> None:
    page_of_it = "<!-- table: fleet -->\n<!-- end -->\n"
    read = page.read_figures(figures)
    assert page.NOTHING not in page.filled(page_of_it, read, [])
    del read[name]
    assert page.NOTHING in page.filled(page_of_it, read, [])


def test_the_same_figures_give_the_same_drawing_and_others_another(figures: Path) -> None:
    read = page.read_figures(figures)
    drawn = plots.drawings(read)
    assert drawn == plots.drawings(read)
    assert "Staging: the cost of an event" in drawn["growth-stage"]
    read["growth"]["stage"]["points"][0]["rounds"][0] = 7.0
    changed = plots.drawings(read)
    assert {name for name in drawn if drawn[name] != changed[name]} == {"growth-stage"}


def test_the_page_and_its_drawings_say_what_the_figures_beside_them_say() -> None:
    made = page.made_from(page.FIGURES, page.PAGES)
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run tests.benchmarks.page"
    assert set(page.FIGURES.glob("*.svg")) <= made.keys()


def test_figures_of_a_measurement_are_taken_over_and_nothing_else(
    figures: Path, tmp_path: Path
) -> None:
    (figures / "quick-bench.json").write_text("{}")
    taken = page.take(figures, tmp_path / "taken")
    assert {path.stem for path in taken} == set(page.FILES)
    assert {path.stem for path in (tmp_path / "taken").iterdir()} == set(page.FILES)


def test_a_profile_is_the_same_from_a_report_and_from_what_an_older_checkout_printed() -> None:
    rows = [Row("stage, 1k: seal", [1.0, 3.0, 2.0], "us"), Row("stage, 1k: all of it", [9.0], "us")]
    printed = [
        {"path": "stage, 1k", "step": "seal", "us_per_event": 2.0},
        {"path": "stage, 1k", "step": "of it waiting", "us_per_event": 1.0},
    ]
    report = reports.report(TAKEN, Sizes(), rows)
    assert (
        profiles.profile_of(report) == profiles.profile_of(printed) == {"stage, 1k": {"seal": 2.0}}
    )
