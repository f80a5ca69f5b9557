"""Every bad input gets one line with place and fix; what was good is staged, and only once."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from app.cli import root
from app.keyring import new_key
from tests.acceptance.conftest import FleetMaker
from tests.acceptance.fleet import Fleet

NOWHERE_DATABASE = "postgresql+psycopg2://pinfold@127.0.0.1:1/pinfold"
NOWHERE_BROKER = "redis://127.0.0.1:1/0"
VALUE = "secret.canary"
"""Part of every bad value: it must never be repeated."""
GOOD = {"audience": "31001", "operation": "add", "email": "ana.ruiz@example.org"}
Done = subprocess.CompletedProcess[str]


@pytest.fixture
def fleet(make: FleetMaker) -> Fleet:
    """An installation with an active audience; no process runs."""
    made = make()
    made.connect()
    made.activate("31001", "VIP")
    return made


def staged(fleet: Fleet) -> int:
    return fleet.count("SELECT coalesce(sum(message_count), 0) FROM staged_chunk")


def write(fleet: Fleet, *lines: object, name: str = "events.ndjson") -> Path:
    path = fleet.directory / name
    path.write_bytes(
        b"".join((x if isinstance(x, bytes) else orjson.dumps(x)) + b"\n" for x in lines)
    )
    return path


def rejects(path: Path) -> list[dict[str, object]]:
    listing = path.with_name(f"{path.name}.rejects.ndjson")
    return [orjson.loads(line) for line in listing.read_bytes().splitlines()]


def assert_one_line_error(done: Done, *words: str) -> None:
    """An error of one line on standard error that names all the words."""
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("pinfold: ")
    for word in words:
        assert word in line, line
    assert_discreet(done)


def assert_discreet(done: Done) -> None:
    assert "Traceback" not in done.stdout + done.stderr
    assert VALUE not in done.stdout + done.stderr


BAD_LINES: dict[str, tuple[object, str, str]] = {
    "unknown audience": ({**GOOD, "audience": "99999"}, "audience", "pinfold audience activate"),
    "unknown operation": ({**GOOD, "operation": f"{VALUE}"}, "operation", '"add" or "remove"'),
    "missing identity": (
        {"audience": "31001", "operation": "add"},
        "email, idfa, gaid",
        "at least one identity",
    ),
    "address without a shape": ({**GOOD, "email": f"{VALUE} at home"}, "email", "name@domain.tld"),
    "all-zero device id": (
        {"audience": "31001", "operation": "add", "idfa": "00000000-0000-0000-0000-000000000000"},
        "idfa",
        "all zeros",
    ),
    "malformed device id": (
        {"audience": "31001", "operation": "add", "gaid": f"{VALUE}-7D40"},
        "gaid",
        "UUID",
    ),
    "NUL byte in an address": ({**GOOD, "email": f"{VALUE}\x00@example.org"}, "email", "NUL byte"),
    "NUL byte in an audience": ({**GOOD, "audience": f"{VALUE}\x00"}, "audience", "not an id"),
    "line of 10 MB": (
        b'{"audience":"31001","email":"' + b"a" * 10_000_000 + b'"}',
        "line",
        "1,048,576 bytes",
    ),
    "no JSON": (b'{"email": "' + VALUE.encode() + b'@example.org"', "line", "not JSON"),
    "no UTF-8": (b'{"email": "' + VALUE.encode() + b'\xff@example.org"}', "line", "JSON"),
    "impossible time": ({**GOOD, "occurred_at": f"{VALUE}"}, "occurred_at", "ISO 8601"),
    "a number for an address": ({**GOOD, "email": 7}, "email", "text"),
    "deep nesting": (b"[" * 100_000, "line", "JSON"),
}


def test_every_bad_line_is_listed_and_its_neighbours_are_staged_once(fleet: Fleet) -> None:
    lines: list[object] = []
    for number, (bad, _, _) in enumerate(BAD_LINES.values()):
        lines += [{**GOOD, "email": f"neighbour{number}@example.org"}, bad]
    path = write(fleet, *lines)
    done = fleet.pinfold("stage", str(path))
    assert done.returncode == 3, done.stdout + done.stderr
    assert_discreet(done)
    faults = rejects(path)
    assert [fault["line"] for fault in faults] == [2 * n + 2 for n in range(len(BAD_LINES))]
    assert VALUE not in str(faults)
    for fault, (name, (_, where, reason)) in zip(faults, BAD_LINES.items(), strict=True):
        assert (fault["field"], fault["whole"]) == (where, True), name
        assert reason in str(fault["reason"]), name
    assert staged(fleet) == len(BAD_LINES)
    again = fleet.pinfold("stage", str(path), "--resume")
    assert "Traceback" not in again.stderr
    assert staged(fleet) == len(BAD_LINES)


def test_the_same_file_again_is_refused_and_resume_skips_it(fleet: Fleet) -> None:
    path = write(fleet, GOOD, {**GOOD, "email": "li.wei@example.org"})
    assert fleet.pinfold("stage", str(path)).returncode == 0
    assert_one_line_error(fleet.pinfold("stage", str(path)), "--resume", "--again")
    assert staged(fleet) == 2
    assert fleet.pinfold("stage", str(path), "--resume").returncode == 0
    assert staged(fleet) == 2
    assert fleet.pinfold("stage", str(path), "--again").returncode == 0
    assert staged(fleet) == 4


def test_a_run_that_broke_off_is_resumed_without_staging_twice(fleet: Fleet) -> None:
    people = [{**GOOD, "email": f"person{number}@example.org"} for number in range(25_000)]
    whole = write(fleet, *people, name="whole.ndjson")
    packed = gzip.compress(whole.read_bytes())
    cut = fleet.directory / "events.ndjson.gz"
    cut.write_bytes(packed[: len(packed) * 3 // 4])
    done = fleet.pinfold("stage", str(cut))
    assert_one_line_error(done, "events.ndjson.gz", "cut off", "--resume")
    first = staged(fleet)
    assert 10_000 <= first < 25_000
    cut.write_bytes(packed)
    assert fleet.pinfold("stage", str(cut), "--resume").returncode == 0
    assert staged(fleet) == 25_000


def test_a_run_that_is_resumed_keeps_the_list_of_what_was_rejected_before(fleet: Fleet) -> None:
    people = [{**GOOD, "email": f"person{number}@example.org"} for number in range(25_000)]
    for bad in (4, 24_990):
        people[bad] = {"audience": "31001"}
    whole = write(fleet, *people, name="whole.ndjson").read_bytes()
    cut = fleet.directory / "events.ndjson.gz"
    cut.write_bytes(gzip.compress(whole)[:-2_000])
    assert fleet.pinfold("stage", str(cut)).returncode == 1
    assert [fault["line"] for fault in rejects(cut)] == [5]
    cut.write_bytes(gzip.compress(whole))
    done = fleet.pinfold("stage", str(cut), "--resume")
    assert done.returncode == 3
    assert "rejects.ndjson lists what an earlier run could not accept" in done.stdout
    assert [fault["line"] for fault in rejects(cut)] == [5, 24_991]


def test_gzip_that_is_damaged_from_its_start_stages_nothing(fleet: Fleet) -> None:
    path = fleet.directory / "events.gz"
    path.write_bytes(b"\x1f\x8b" + b"no gzip at all")
    assert_one_line_error(fleet.pinfold("stage", str(path)), "events.gz")
    assert staged(fleet) == 0


def test_csv_is_read_and_its_lists_too(fleet: Fleet) -> None:
    path = write(
        fleet,
        b"audience,operation,email,idfa",
        b"31001,add,ana.ruiz@example.org;li.wei@example.org,",
        b'31001,remove,"jon@example.org",5b0e6d11-90ac-4f37-8e42-7a1b3c5d9e20',
        name="events.csv",
    )
    done = fleet.pinfold("stage", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert fleet.count("SELECT sum(email_count + maid_count) FROM staged_chunk") == 4


def test_what_segment_exports_is_read_with_its_own_delimiter_and_counted_by_reason(
    fleet: Fleet,
) -> None:
    """A row without an action, one of nobody, and one whose context is no JSON."""
    path = write(
        fleet,
        b"\xef\xbb\xbfaudience_id;audience_action;email;context",
        b'"31001";"true";"ana.ruiz@example.org";"{""device"":{""type"":""ios"",',
        b'""advertisingId"":""3F1C9A52-7D40-4B8E-9A61-0C2D5E7F8A90""}}"',
        b'"31001";"";"li.wei@example.org";""',
        b'"31001";"false";"";"{}"',
        b'"31001";"false";"jon@example.org";"{' + VALUE.encode() + b'"',
        name="segment.csv",
    )
    done = fleet.pinfold("stage", str(path), "--format", "segment-csv")
    assert done.returncode == 3, done.stdout + done.stderr
    assert_discreet(done)
    assert [(fault["line"], fault["field"], fault["whole"]) for fault in rejects(path)] == [
        (4, "audience_action", True),
        (6, "context", False),
    ]
    assert "1 changes ignored" in done.stdout
    assert "a person without an email or advertising id" in done.stdout
    assert fleet.count("SELECT sum(email_count + maid_count) FROM staged_chunk") == 3


def test_a_cloud_storage_file_is_for_the_audience_in_its_name(fleet: Fleet) -> None:
    """The same bytes for another audience are no duplicate."""
    fleet.activate("31002", "Second")
    line = {"IsAddRequest": True, "IdentityValues": {"email": "ana.ruiz@example.org"}}
    guid = "5b0e6d11-90ac-4f37-8e42-7a1b3c5d9e20"
    for audience in ("31001", "31002"):
        path = write(fleet, line, name=f"The-VIP_{audience}_20260203_081530_{guid}.txt")
        done = fleet.pinfold("stage", str(path), "--format", "mparticle-storage")
        assert (done.returncode, done.stderr) == (0, "")
        assert f"audience {audience} (The-VIP)" in done.stdout
    assert fleet.count("SELECT count(DISTINCT audience_id) FROM staged_chunk") == 2
    line["IsAddRequest"] = False
    nameless = write(fleet, line, name="audience.txt")
    form = ("--format", "mparticle-storage")
    assert_one_line_error(fleet.pinfold("stage", str(nameless), *form), "--audience")
    assert fleet.pinfold("stage", str(nameless), *form, "--audience", "31001").returncode == 0
    assert staged(fleet) == 3
    empty = write(fleet, name="mparticle-validation-1.txt")
    assert "empty" in fleet.pinfold("stage", str(empty), *form).stdout


def test_a_line_of_mparticle_gives_many_events_and_is_rejected_by_its_number(fleet: Fleet) -> None:
    def person(value: str) -> dict[str, object]:
        return {
            "user_identities": [{"type": "email", "encoding": "raw", "value": value}],
            "audiences": [
                {"audience_id": 31001, "audience_name": "VIP", "action": "add"},
                {"audience_id": 7, "audience_name": "Unknown", "action": "delete"},
            ],
        }

    message = {"type": "audience_membership_change_request", "timestamp_ms": 1767265200123}
    profiles = [person("ana.ruiz@example.org"), person(f"{VALUE} at home")]
    path = write(
        fleet,
        message,
        {**message, "user_profiles": profiles},
        {**message, "type": "audience_subscription_request"},
    )
    done = fleet.pinfold("stage", str(path), "--format", "mparticle")
    assert done.returncode == 3, done.stdout + done.stderr
    assert_discreet(done)
    assert [(fault["line"], fault["field"]) for fault in rejects(path)] == [
        (2, "audience"),
        (2, "audience"),
        (2, "email"),
        (3, "type"),
    ]
    assert staged(fleet) == 1


def test_an_unknown_format_is_refused_with_the_known_ones(fleet: Fleet) -> None:
    done = fleet.pinfold("stage", "-", "--format", "xml", given=b"")
    assert_one_line_error(done, "ndjson", "segment-csv", "mparticle-kinesis")


def test_csv_without_its_columns_names_them(fleet: Fleet) -> None:
    path = write(fleet, b"audience,mail", f"31001,{VALUE}@example.org".encode(), name="events.csv")
    done = fleet.pinfold("stage", str(path))
    assert_one_line_error(done, "line 1", "operation", "email, idfa, gaid")
    assert staged(fleet) == 0


def test_a_file_that_does_not_exist_is_named(fleet: Fleet) -> None:
    assert_one_line_error(fleet.pinfold("stage", "absent.ndjson"), "absent.ndjson", "no file")


def test_a_directory_is_no_file(fleet: Fleet) -> None:
    assert_one_line_error(fleet.pinfold("stage", str(fleet.directory)), "cannot read")


def test_an_empty_file_is_said_to_be_empty(fleet: Fleet) -> None:
    path = write(fleet)
    done = fleet.pinfold("stage", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "empty" in done.stdout


def test_standard_input_is_read(fleet: Fleet) -> None:
    done = fleet.pinfold("stage", "-", given=orjson.dumps(GOOD))
    assert done.returncode == 0, done.stdout + done.stderr
    assert staged(fleet) == 1


def test_a_reject_file_that_cannot_be_written_is_named_and_the_good_is_staged_once(
    fleet: Fleet,
) -> None:
    path = write(fleet, GOOD, {"audience": "31001"})
    done = fleet.pinfold("stage", str(path), "--rejects", "absent/rejects.ndjson")
    assert_one_line_error(done, "absent/rejects.ndjson")
    fleet.pinfold("stage", str(path), "--resume")
    assert staged(fleet) == 1


COMMANDS = [
    ("status",),
    ("books",),
    ("flush", "VIP"),
    ("intake",),
    ("migrate",),
    ("stage", "-"),
    ("audience", "activate", "X", "--id", "1"),
    ("connection", "list"),
    ("connection", "settings", "main"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_database_that_is_away_is_named(fleet: Fleet, command: tuple[str, ...]) -> None:
    done = fleet.pinfold(*command, PINFOLD_DATABASE_URL=NOWHERE_DATABASE)
    assert_one_line_error(done, "Postgres cannot be reached")


def test_no_database_at_all_names_the_setting(fleet: Fleet) -> None:
    assert_one_line_error(
        fleet.pinfold("status", PINFOLD_DATABASE_URL=None), "PINFOLD_DATABASE_URL", "pinfold up"
    )


def test_a_broker_that_is_away_only_delays_a_flush(fleet: Fleet) -> None:
    fleet.stage([GOOD])
    done = fleet.pinfold("flush", "VIP", PINFOLD_BROKER_URL=NOWHERE_BROKER)
    assert done.returncode == 0, done.stderr
    assert_discreet(done)
    assert fleet.count("SELECT count(*) FROM audience WHERE flush_requested_at IS NOT NULL") == 1


@pytest.mark.parametrize("command", [("stage", "-"), ("intake",)], ids=" ".join)
def test_a_wrong_key_is_refused_before_anything_is_read(
    fleet: Fleet, command: tuple[str, ...]
) -> None:
    fleet.stage([GOOD])
    wrong = new_key()
    done = fleet.pinfold(*command, given=orjson.dumps(GOOD), PINFOLD_KEYS=wrong)
    assert_one_line_error(done, "wrong key", "PINFOLD_KEYS")
    assert wrong not in done.stderr
    assert staged(fleet) == 1


@pytest.mark.parametrize("command", [("stage", "-"), ("intake",)], ids=" ".join)
def test_a_missing_key_is_refused(fleet: Fleet, command: tuple[str, ...]) -> None:
    done = fleet.pinfold(*command, given=orjson.dumps(GOOD), PINFOLD_KEYS=None)
    assert_one_line_error(done, "PINFOLD_KEYS", "pinfold keys new")


@pytest.mark.parametrize("key", ["not base64 !", "c2hvcnQ="])
def test_a_key_that_is_none_is_refused_without_being_repeated(fleet: Fleet, key: str) -> None:
    done = fleet.pinfold("stage", "-", PINFOLD_KEYS=key)
    assert_one_line_error(done, "PINFOLD_KEYS", "32 bytes")
    assert key not in done.stderr


def test_an_unknown_setting_is_named(fleet: Fleet) -> None:
    assert_one_line_error(
        fleet.pinfold("status", PINFOLD_FLUSH_MESAGES="5"), "PINFOLD_FLUSH_MESAGES", "no such"
    )


def test_an_audience_that_does_not_exist_is_named(fleet: Fleet) -> None:
    for command in (("flush",), ("audience", "pause"), ("audience", "resume"), ("retry",)):
        assert_one_line_error(fleet.pinfold(*command, "nobody"), "nobody", "pinfold status")


def test_a_token_file_that_cannot_be_one_is_refused_without_being_repeated(fleet: Fleet) -> None:
    path = fleet.directory / "token.txt"
    for text, word in (("", "empty"), (f"{VALUE} two words", "one line")):
        path.write_text(text)
        done = fleet.pinfold(
            "connection", "add", "other", "--ad-account", "1", "--token-file", str(path)
        )
        assert_one_line_error(done, word)
    done = fleet.pinfold(
        "connection", "add", "other", "--ad-account", "1", "--token-file", "absent.txt"
    )
    assert_one_line_error(done, "absent.txt")


def test_a_connection_and_an_audience_are_set_up_and_taken_through_their_states(
    fleet: Fleet,
) -> None:
    token = fleet.directory / "token.txt"
    token.write_text("pina_other\n")
    add = ("connection", "add", "other", "--ad-account", "549770000001", "--token-file", str(token))
    assert fleet.pinfold(*add).returncode == 0
    assert_one_line_error(fleet.pinfold(*add), "other exists")
    activate = ("audience", "activate", "Second", "--id", "31002", "-c", "other", "--no-wait")
    for said in ("activated", "active already"):
        done = fleet.pinfold(*activate)
        assert (done.returncode, said in done.stdout) == (0, True)
    for command, said in (("pause", "is paused"), ("resume", "goes on")):
        assert said in fleet.pinfold("audience", command, "Second").stdout
    gone = fleet.pinfold("audience", "deactivate", "Second", "--yes")
    assert gone.returncode == 0
    assert "at Pinterest stay" in gone.stdout
    assert_one_line_error(fleet.pinfold("audience", "pause", "Second"), "deactivated")
    settings = fleet.pinfold("connection", "settings", "other", "--no-forward-email")
    assert "emails are no longer forwarded" in settings.stdout
    listed = orjson.loads(fleet.pinfold("connection", "list", "--json").stdout)
    assert [item["name"] for item in listed] == ["main", "other"]


def test_status_books_and_doctor_speak_to_people_and_to_programs(fleet: Fleet) -> None:
    fleet.stage([GOOD])
    assert "300,000,000" in fleet.pinfold("status").stdout
    status = orjson.loads(fleet.pinfold("status", "--json").stdout)
    assert status["audiences"][0]["waiting"] == 1
    assert status["audiences"][0]["lists"][0]["cap"] == 300_000_000
    books = orjson.loads(fleet.pinfold("books", "--json").stdout)
    assert [book["received"] for book in books["lists"]] == [1, 0]
    assert fleet.pinfold("books", "--check").returncode == 0
    doctor = fleet.pinfold("doctor", "--json")
    verdicts = {finding["what"]: finding["verdict"] for finding in orjson.loads(doctor.stdout)}
    assert doctor.returncode == 1
    assert (verdicts["database"], verdicts["workers"], verdicts["beat"]) == ("ok", "wrong", "wrong")
    for command in ("status", "books", "doctor"):
        done = fleet.pinfold(command, NO_COLOR="1", TERM="dumb", COLUMNS="40")
        assert done.stdout
        assert "\x1b" not in done.stdout + done.stderr


def test_books_that_do_not_balance_are_told_by_name_and_by_status(fleet: Fleet) -> None:
    fleet.stage([GOOD])
    fleet.ask("DELETE FROM staged_chunk RETURNING 1")
    done = fleet.pinfold("books", "--check")
    assert done.returncode == 1
    name = next(iter(fleet.names.values()))
    assert f"the books of {name} EMAIL: off by 1" in done.stdout
    assert fleet.pinfold("books").returncode == 0, "without --check it only shows"


def test_doctor_tells_what_to_do_when_parts_are_away(fleet: Fleet) -> None:
    done = fleet.pinfold(
        "doctor", PINFOLD_DATABASE_URL=NOWHERE_DATABASE, PINFOLD_BROKER_URL=NOWHERE_BROKER
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "PINFOLD_DATABASE_URL" in done.stdout
    assert "PINFOLD_BROKER_URL" in done.stdout


def test_doctor_tells_a_wrong_key(fleet: Fleet) -> None:
    fleet.stage([GOOD])
    done = fleet.pinfold("doctor", PINFOLD_KEYS=new_key())
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "wrong key" in done.stdout


def test_migrate_twice_at_once_is_safe(fleet: Fleet) -> None:
    command = [sys.executable, "-m", "workers.console", "migrate"]
    both = [
        subprocess.Popen(command, env=fleet.environment, stdout=subprocess.PIPE) for _ in range(2)
    ]
    assert [(process.communicate()[1], process.returncode)[1] for process in both] == [0, 0]


def all_commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []

    def walk(command: object, path: tuple[str, ...]) -> None:
        parts = getattr(command, "commands", None)
        if not parts:
            found.append(path)
        for name, part in (parts or {}).items():
            walk(part, (*path, name))

    walk(get_command(root), ())
    return found


@pytest.mark.parametrize("command", all_commands(), ids=" ".join)
def test_the_help_of_every_command_has_an_example(command: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(root, [*command, "--help"]).output
    assert "Example: " in shown
    assert "pinfold " + " ".join(command) in " ".join(shown.split())
