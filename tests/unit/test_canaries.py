"""The last step of CI finds canaries wherever they were left, and says so."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1
from pathlib import Path

import pytest

from tests.canaries import ADDRESSES, CONTROL, DEVICES, PLACES, search


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    (tmp_path / "servers").mkdir()
    (tmp_path / "servers" / "postgres.log").write_text(f"ERROR: no column {CONTROL}\n")
    (tmp_path / "tests" / "test_one").mkdir(parents=True)
    (tmp_path / "tests" / "test_one" / "worker.log").write_text(f"{CONTROL}@fleet ready\n")
    return tmp_path


def test_nothing_but_the_control_word_is_well(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (kept / "empty.log").touch()
    assert search(kept) == 0
    told = capsys.readouterr().out
    assert "0 canaries in 3 files of 63 bytes" in told
    assert "1 of the logs in servers hold the control word" in told
    assert "1 of the logs in tests hold the control word" in told


@pytest.mark.parametrize(
    "left",
    [
        ADDRESSES[0].encode(),
        ADDRESSES[0].upper().encode(),
        DEVICES[3].encode(),
        sha1(ADDRESSES[2].encode()).digest(),
        sha1(DEVICES[1].upper().encode()).hexdigest().upper().encode(),
        b64encode(b"x" + ADDRESSES[1].encode()),
    ],
    ids=["plain", "upper case", "device", "raw digest", "digest in hex", "base64"],
)
def test_a_canary_is_found_in_each_shape(
    kept: Path, left: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (kept / "deep").mkdir()
    (kept / "deep" / "data").write_bytes(b"\x00" * 9_000 + left)
    assert search(kept) == 1
    assert "deep/data holds" in capsys.readouterr().out


def test_a_search_that_does_not_find_what_is_there_fails(tmp_path: Path) -> None:
    (tmp_path / "pytest.txt").write_text(f"all is well, {CONTROL} too\n")
    assert search(tmp_path) == 2


@pytest.mark.parametrize("place", PLACES)
def test_a_place_of_which_no_log_was_kept_fails_the_search(kept: Path, place: str) -> None:
    for path in list((kept / place).rglob("*.log")):
        path.rename(path.with_suffix(".aof"))
    assert search(kept) == 2


def test_a_link_that_leads_elsewhere_is_followed(
    kept: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "data").write_text(ADDRESSES[0])
    (kept / "servers" / "postgres").symlink_to(elsewhere)
    assert search(kept) == 1
