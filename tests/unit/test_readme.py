"""The README tells the truth about settings and commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from app.cli import root
from app.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ROW = re.compile(r"^\| `([A-Z_]+)` ?\*? \|(.*?)\|", re.MULTILINE)


def test_the_table_of_settings_has_every_setting_with_its_default() -> None:
    stated = dict(ROW.findall(README))
    assert stated.keys() == {name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else str(field.default).lower()
        assert stated[name.upper()].strip(" `").lower() == default, name


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_command_a_page_shows_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    group = typer.main.get_command(root)
    known = {
        f"{name} {sub}" if hasattr(command, "commands") else name
        for name, command in group.commands.items()  # type: ignore[attr-defined]
        for sub in getattr(command, "commands", [""])
    }
    shown = set(
        re.findall(
            r"(?<![\w/'=])pinfold ((?:connection|audience|keys|source|token) [a-z-]+|[a-z]+)", text
        )
    )
    prose = {"accounts", "says", "keeps", "hashes", "does", "up", "pinfold"}
    assert {command for command in shown if command not in prose} <= known
