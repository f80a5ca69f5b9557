"""A mutation as data, and how it is made in a copy of the project and taken back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from typing import NamedTuple


class Edit(NamedTuple):
    """One place of the code: the exact text, which stands there once, and what replaces it."""

    file: str
    old: str
    new: str

    def applied(self, text: str) -> str:
        """The file's text with the edit in it. Raises DoesNotApply when the code has changed."""
        if (found := text.count(self.old)) != 1:
            raise DoesNotApply(f"the text to replace stands {found} times in {self.file}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Mutation:
    name: str
    what: str
    """The mistake in one sentence."""
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    """The node ids of the tests of which one has to fail."""


class DoesNotApply(Exception):
    """The code that a mutation names has changed since."""


def mutated_texts(project: Path, mutation: Mutation) -> dict[Path, str]:
    """The files of a project that a mutation changes, as they then are."""
    texts: dict[Path, str] = {}
    for edit in mutation.edits:
        path = project / edit.file
        texts[path] = edit.applied(texts.get(path) or path.read_text(encoding="utf-8"))
    return texts


@contextmanager
def mutated(project: Path, mutation: Mutation) -> Iterator[None]:
    """Within the block a project is mutated; nothing is changed where DoesNotApply is raised."""
    texts = mutated_texts(project, mutation)
    originals = {path: path.read_text(encoding="utf-8") for path in texts}
    try:
        _write(texts)
        yield
    finally:
        _write(originals)


def _write(texts: dict[Path, str]) -> None:
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
        # Python takes a compiled file for good by its source's size and second
        Path(cache_from_source(str(path))).unlink(missing_ok=True)
