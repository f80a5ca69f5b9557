"""Event files: what is good is read, what is not is named by its line, nothing is read twice."""

import gzip
import io
import json
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import event_files, event_parts
from app.errors import ConfigError
from app.event_files import FORMS, read_parts
from app.event_lines import LONGEST_LINE, BrokenFile
from app.event_parts import Part
from app.events import Operation
from app.formats.reading import PLAIN, Dialect


def lines(count: int, start: int = 0) -> list[str]:
    return [
        json.dumps({"audience": "a", "operation": "add", "email": f"p{number}@example.org"})
        for number in range(start, start + count)
    ]


def read(content: bytes | str, form: str | None = None) -> list[Part]:
    return list(parts_of(content, form))


def parts_of(content: bytes | str, form: str | None = None) -> Iterator[Part]:
    raw = content.encode() if isinstance(content, str) else content
    return read_parts(io.BufferedReader(io.BytesIO(raw)), form)


def emails(parts: list[Part]) -> list[str]:
    return [event.identities[0].value for part in parts for event in part.events]


def faults(parts: list[Part]) -> list[tuple[int, str, bool]]:
    return [(fault.line, fault.field, fault.whole) for part in parts for fault in part.faults]


def test_ndjson_is_read_line_by_line_and_bad_lines_are_named() -> None:
    content = "\n".join(
        [
            *lines(1),
            "",
            "{broken",
            '{"audience":"a","operation":"fly","email":"x@example.org"}',
            '{"audience":"a","operation":"remove","email":["p9@example.org", 5]}',
            "[]",
            *lines(1, start=3),
        ]
    )
    (part,) = read(content)
    assert emails([part]) == ["p0@example.org", "p9@example.org", "p3@example.org"]
    assert part.lines == [1, 5, 7]
    assert faults([part]) == [
        (3, "line", True),
        (4, "operation", True),
        (5, "email[1]", False),
        (6, "message", True),
    ]
    assert part.last_line == 7


def test_csv_is_told_by_its_header_with_lists_and_blanks() -> None:
    content = (
        "Operation,audience,email,idfa,occurred_at\n"
        "add,31001,a@example.org;b@example.org,,2026-02-03T08:15:30Z\n"
        "remove,31001,c@example.org,,\n"
    )
    (part,) = read(content)
    assert [len(event.identities) for event in part.events] == [2, 1]
    assert part.events[0].occurred_at_us == 1770106530000000
    assert part.events[1].operation is Operation.REMOVE
    assert part.lines == [2, 3]


def test_a_quoted_cell_may_go_on_over_the_following_lines() -> None:
    content = (
        'audience,operation,email\n"31001",add,"a@example.org;\nb@example.org"\n'
        "31001,add,c@example.org\n"
    )
    (part,) = read(content)
    assert part.faults == []
    values = [[identity.value.strip() for identity in event.identities] for event in part.events]
    assert values == [["a@example.org", "b@example.org"], ["c@example.org"]]
    assert part.lines[1] == 4


def test_a_quote_that_is_never_closed_is_a_fault() -> None:
    (part,) = read('audience,operation,email\n31001,add,"a@example.org\n')
    assert part.events == []
    assert [fault.field for fault in part.faults] == ["line"]


def test_a_quote_in_the_middle_of_a_cell_does_not_swallow_its_neighbours() -> None:
    """Only a cell that begins with a quote is a quoted one (RFC 4180)."""
    content = 'audience,operation,email\n31001,add,a"b@example.org\n31001,add,c@example.org\n'
    assert "c@example.org" in emails(read(content))


@pytest.mark.parametrize(
    ("header", "missing"),
    [
        ("audience,email", "operation"),
        ("operation,email", "audience"),
        ("audience,operation", "email, idfa, gaid"),
        ("\xff\xfe", "operation"),
        ("just some text", "audience"),
    ],
)
def test_a_csv_without_its_columns_names_what_is_missing(header: str, missing: str) -> None:
    with pytest.raises(ConfigError, match="line 1") as caught:
        read(header.encode("latin-1") + b"\nx,y\n")
    assert missing in str(caught.value)


def test_too_many_cells_are_a_fault_and_too_few_are_absent() -> None:
    content = "audience,operation,email,idfa\na,add,x@example.org\na,add,y@example.org,,,\n"
    (part,) = read(content)
    assert emails([part]) == ["x@example.org"]
    assert faults([part]) == [(3, "line", True)]


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", gzip.compress(b"")])
def test_an_empty_file_has_no_parts(content: bytes) -> None:
    assert read(content) == []


@pytest.mark.parametrize("content", ["\n".join(lines(2)), "audience,operation,email\na,add,x@y.zz"])
def test_a_byte_order_mark_is_skipped(content: str) -> None:
    marked = read(b"\xef\xbb\xbf" + content.encode())
    assert emails(marked) == emails(read(content))
    assert marked[0].faults == []


def test_gzip_is_unpacked() -> None:
    content = "\n".join(lines(3)).encode()
    assert emails(read(gzip.compress(content))) == emails(read(content))


def test_a_nul_byte_spoils_its_line_only() -> None:
    content = "\n".join(
        [lines(1)[0], '{"audience":"a\\u0000","operation":"add"}', "\x00", *lines(1)]
    )
    (part,) = read(content)
    assert len(part.events) == 2
    assert [line for line, *_ in faults([part])] == [2, 3]


@pytest.mark.parametrize(
    "content", [b'{"audience":"\xff"}\n', b"audience,operation,email\na,add,\xff@example.org\n"]
)
def test_a_line_that_is_no_utf8_is_a_fault(content: bytes) -> None:
    (part,) = read(content)
    assert part.events == []
    assert len(part.faults) == 1


def test_faults_never_repeat_what_stood_there() -> None:
    secret = "canary@example.org"
    content = "\n".join(
        [
            f'{{"audience":"a","operation":"{secret}","email":"{secret}"}}',
            f"{{{secret}",
            f'{{"audience":"a","operation":"add","occurred_at":"{secret}"}}',
        ]
    )
    (part,) = read(content)
    assert len(part.faults) == 3
    assert secret not in str(part.faults)


class _EndlessLine(io.RawIOBase):
    """A line of 10 MB between two good ones, made while it is read."""

    def __init__(self) -> None:
        first, last = (line.encode() + b"\n" for line in (lines(1)[0], lines(1, 5)[0]))
        self._pieces = [first, *[b"x" * 65_536] * 160, b"\n", last]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        if not self._pieces:
            return 0
        piece = self._pieces.pop(0)
        taken = piece[: len(buffer)]
        if len(piece) > len(taken):
            self._pieces.insert(0, piece[len(taken) :])
        buffer[: len(taken)] = taken
        return len(taken)


def test_a_line_of_ten_megabytes_is_skipped_without_being_held() -> None:
    tracemalloc.start()
    try:
        (part,) = list(read_parts(io.BufferedReader(_EndlessLine())))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert emails([part]) == ["p0@example.org", "p5@example.org"]
    assert faults([part]) == [(2, "line", True)]
    assert peak < 5 * LONGEST_LINE


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_first_line_that_is_too_long_is_one_fault(mark: bytes) -> None:
    content = mark + b"{" + b"x" * LONGEST_LINE + b"\n" + lines(1)[0].encode()
    (part,) = read(content)
    assert faults([part]) == [(1, "line", True)]
    assert len(part.events) == 1


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(event_files, "PART_LINES", 10)
    return 10


@pytest.mark.usefixtures("small_parts")
def test_a_file_is_cut_into_parts_of_so_many_lines() -> None:
    parts = read("\n".join(lines(25)))
    assert [(part.first_line, part.last_line) for part in parts] == [(1, 10), (11, 20), (21, 25)]
    assert [part.number for part in parts] == [0, 1, 2]
    assert emails(parts) == [f"p{number}@example.org" for number in range(25)]


@pytest.mark.usefixtures("small_parts")
def test_the_same_part_of_the_same_file_has_the_same_key() -> None:
    whole = read("\n".join(lines(25)) + "\n")
    longer = read("\n".join(lines(40)) + "\n")
    assert [part.key for part in whole] == [part.key for part in read("\n".join(lines(25)) + "\n")]
    assert [part.key for part in whole][:2] == [part.key for part in longer][:2]
    assert len({part.key for part in whole + longer}) == 5


@pytest.mark.usefixtures("small_parts")
def test_the_same_lines_at_two_places_of_a_file_are_two_parts() -> None:
    parts = read("\n".join(lines(10) * 2) + "\n")
    assert len(parts) == 2
    assert parts[0].key != parts[1].key


def truncated(content: str, share: float) -> bytes:
    packed = gzip.compress(content.encode())
    return packed[: int(len(packed) * share)]


def read_broken(content: bytes) -> list[Part]:
    """The parts given out before the file turned out to be broken."""
    parts: list[Part] = []
    with pytest.raises(BrokenFile, match=r"after line \d+"):
        parts.extend(parts_of(content))
    return parts


@pytest.mark.usefixtures("small_parts")
def test_of_a_gzip_that_is_cut_off_the_good_lines_are_given_out_first() -> None:
    whole = "\n".join(lines(2_000))
    given_out = emails(read_broken(truncated(whole, 0.5)))
    assert given_out == emails(read(whole))[: len(given_out)]
    assert len(given_out) > 500


def test_a_gzip_damaged_from_its_start_is_refused_whole() -> None:
    with pytest.raises(BrokenFile, match="nothing was staged"):
        read(gzip.compress(b"x" * 1000)[:12])


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_no_line_is_staged_twice_when_the_whole_file_comes_after_the_broken_one(
    share: float,
) -> None:
    """What `--resume` does: known parts are skipped, and known beginnings of parts."""
    whole = "\n".join(lines(2_000))
    staged: dict[str, list[str]] = {}
    for part in [*read_broken(truncated(whole, share)), *read(whole)]:
        known = [line for key, line in part.beginnings.items() if key in staged]
        rest = part.without_lines_up_to(max(known, default=0))
        staged.setdefault(part.key, emails([rest]))
    values = [value for part_values in staged.values() for value in part_values]
    assert len(values) == len(set(values)) == 2_000


@given(st.binary(max_size=300), st.sampled_from(["ndjson", "csv", None]))
def test_any_bytes_are_read_or_refused_and_nothing_else(content: bytes, form: str | None) -> None:
    try:
        parts = read(content, form)
    except ConfigError:
        return
    for part in parts:
        assert len(part.events) == len(part.lines)


@given(st.binary(max_size=100))
def test_any_line_between_two_good_ones_leaves_them_alone(noise: bytes) -> None:
    noise = noise.replace(b"\n", b" ")
    first, last = (line.encode() for line in (lines(1)[0], lines(1, 5)[0]))
    parts = read(b"\n".join((first, noise, last)))
    assert [emails(parts)[0], emails(parts)[-1]] == ["p0@example.org", "p5@example.org"]


def record(number: int, action: str = "add") -> str:
    """A row whose quoted cell goes on over three lines."""
    return f'a,{action},"p{number}@example.org;\n;\n"'


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
def test_no_row_of_several_lines_is_staged_twice_after_a_break_in_its_middle(share: float) -> None:
    rows = [record(number) for number in range(2_000)]
    whole = "\n".join(["audience,operation,email", *rows])
    staged: dict[str, list[str]] = {}
    for part in [*read_broken(truncated(whole, share)), *read(whole)]:
        known = [line for key, line in part.beginnings.items() if key in staged]
        rest = part.without_lines_up_to(max(known, default=0))
        staged.setdefault(part.key, emails([rest]))
    values = [value for part_values in staged.values() for value in part_values]
    assert len(values) == len(set(values)) == 2_000


def test_a_row_of_several_lines_is_named_by_its_first() -> None:
    content = "\n".join(["audience,operation,email", record(1), record(2, "fly"), record(3)])
    (part,) = read(content)
    assert part.lines == [2, 8]
    assert faults([part]) == [(5, "operation", True)]


def test_an_open_quote_swallows_no_rows_before_a_line_that_is_no_utf8() -> None:
    content = b'audience,operation,email\na,add,"x\na,add,p1@example.org\n\xff\n'
    (part,) = read(content)
    assert emails([part]) == ["p1@example.org"]
    assert part.lines == [3]
    assert faults([part]) == [(2, "line", True), (4, "line", True)]


def test_a_line_may_hold_several_events_and_each_bad_one_is_named_by_its_place() -> None:
    first, second = (json.loads(line) for line in lines(2))
    many = json.dumps([first, {**second, "operation": "fly"}, second])
    (part,) = read("\n".join([many, *lines(1, 2)]))
    assert part.lines == [1, 1, 2]
    assert faults([part]) == [(1, "[1].operation", True)]


def test_a_part_ends_early_when_its_lines_hold_many_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_parts, "PART_FINDS", 5)
    many = [json.dumps([json.loads(line) for line in lines(4, 4 * number)]) for number in range(5)]
    parts = read("\n".join([*many, "{", "{"]))
    assert [(part.first_line, part.last_line) for part in parts] == [(1, 2), (3, 4), (5, 6), (7, 7)]
    assert emails(parts) == [f"p{number}@example.org" for number in range(20)]


def keys(content: str, form: str | None, dialect: Dialect = PLAIN) -> list[str]:
    stream = io.BufferedReader(io.BytesIO(content.encode()))
    return [part.key for part in read_parts(stream, form, dialect)]


def test_the_same_bytes_read_for_another_audience_are_another_part() -> None:
    change = json.dumps({"IsAddRequest": True, "IdentityValues": {"email": "p0@example.org"}})
    form = "mparticle-storage"
    (one,), (again,), (other,) = (keys(change, form, Dialect(a)) for a in ("1", "1", "2"))
    assert one == again
    assert one != other


def test_the_same_bytes_read_in_another_format_are_another_part() -> None:
    content = lines(1)[0]
    assert len({keys(content, form)[0] for form in ("ndjson", "segment", "rudderstack")}) == 3
    assert keys(content, None) == keys(content, "ndjson")


def test_what_was_ignored_before_a_break_is_not_counted_again() -> None:
    call = json.dumps({"type": "page", "messageId": "m"})
    (part,) = parts_of("\n".join([call] * 3), "segment")
    assert sum(part.remarks().values()) == 3
    assert sum(part.without_lines_up_to(2).remarks().values()) == 1


def test_blank_lines_alone_hold_nothing() -> None:
    (part,) = read("\n\n", "ndjson")
    assert not part.holds_something()


@given(st.binary(max_size=300), st.sampled_from(sorted(FORMS)))
def test_any_bytes_in_any_format_are_read_or_refused(content: bytes, form: str) -> None:
    try:
        parts = read(content, form)
    except ConfigError:
        return
    for part in parts:
        assert len(part.events) == len(part.lines)


SEGMENT_HEADER = "audience_id,audience_action,email,context"


@given(st.text(max_size=200))
def test_any_row_between_two_good_ones_of_segment_leaves_them_alone(noise: str) -> None:
    noise = noise.replace("\n", " ").replace("\r", " ")
    good = ['"7","true","p0@example.org",""', '"7","true","p5@example.org",""']
    parts = read("\n".join([SEGMENT_HEADER, good[0], noise, good[1]]), "segment-csv")
    assert {"p0@example.org", "p5@example.org"} <= set(emails(parts)) or '"' in noise
