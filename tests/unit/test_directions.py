"""The direction of imports (design section 7): every module imports only from those above it."""

import ast
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# From the bottom up: a module may import from those in earlier rows, and never within its row,
# but for packages, which hold their own order.
ROWS = [
    "app.errors app.doorbell app.copying app.forecast app.standing app.witness",
    "app.settings app.events app.tables app.database app.callback",
    "app.sealed app.event_lines",
    "app.identities app.bodies app.keyring app.lease app.backoff app.narrowing app.deadman",
    "app.plain_events",
    "app.formats",
    "app.event_parts app.event_rows",
    "app.gate app.lists app.generations app.logins app.revisions app.event_files app.drafting"
    " app.folding app.sweeps app.flush_rule app.lots",
    "app.runs",
    "app.deployment",
    "app.processes",
    "app.migrate app.receipts app.staging app.due_lists app.window app.joining app.pinterest"
    " app.keys"
    " app.resealing app.purging app.reconciling app.writing_off app.ending_rests",
    "app.troubles app.sightings app.remembering app.due",
    "app.compacting app.rotation app.connections app.quota app.books app.list_status app.flush",
    "app.audiences app.status app.sources app.turn app.resuming app.renewing app.connecting"
    " app.gauges app.forgetting",
    "app.settling app.evidence app.expiring app.accepting app.api_tokens app.doors app.surveying",
    "app.creation app.recovering",
    "app.delivery app.observing app.rebuilding app.rolling app.showing",
    "app.doctor",
    "app.api app.sandbox",
    "app.cli",
    "workers",
]
HEIGHT = {module: height for height, row in enumerate(ROWS) for module in row.split()}
PACKAGES = {"app.api", "app.formats", "app.pinterest", "app.sandbox", "app.cli", "workers"}
# Who else may come to know them, by the name of a package that is imported.
ONLY_IN = {
    "celery": ("workers",),
    "kombu": ("workers",),
    "amqp": ("workers",),
    "requests": ("app.pinterest", "app.sandbox"),
    "urllib3": ("app.pinterest", "app.sandbox"),
    "typer": ("app.cli",),
    "fastapi": ("app.api", "workers"),
    "starlette": ("app.api",),
    "uvicorn": ("workers",),
    "tests": (),
}


def sources() -> list[Path]:
    return sorted(
        path for top in ("app", "workers", "migrations") for path in (ROOT / top).rglob("*.py")
    )


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def unit_of(module: str) -> str:
    """The row's name for a module: its package's where that is a unit."""
    for package in PACKAGES:
        if module == package or module.startswith(package + "."):
            return package
    return module


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module a file imports, wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if is_module(whole) else node.module


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


FILES = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in sources()]


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES)
def test_a_module_imports_only_from_those_above_it(path: Path) -> None:
    module = module_of(path)
    if module == "app":
        return
    mine = unit_of(module)
    wrong = []
    for name in imported(parsed(path)):
        theirs = unit_of(name)
        if name.split(".")[0] not in ("app", "workers") or theirs == mine or theirs == "app":
            continue
        if module.startswith("migrations"):
            if theirs != "app.tables":
                wrong.append(name)
        elif HEIGHT.get(theirs, 99) >= HEIGHT.get(mine, -1):
            wrong.append(name)
    assert wrong == []


def test_every_module_has_its_place_in_the_table() -> None:
    units = {unit_of(module_of(path)) for path in sources()}
    units = {unit for unit in units if unit != "app" and not unit.startswith("migrations")}
    assert units == set(HEIGHT)


@pytest.mark.parametrize("path", FILES)
def test_outside_libraries_are_known_only_where_they_belong(path: Path) -> None:
    module = module_of(path)
    for name, (library, places) in product(imported(parsed(path)), ONLY_IN.items()):
        if name == library or name.startswith(library + "."):
            assert any(module == place or module.startswith(place + ".") for place in places), name


@pytest.mark.parametrize("path", FILES)
def test_the_environment_is_read_by_the_settings_alone(path: Path) -> None:
    if module_of(path) == "app.settings":
        return
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in {
                ("os", name) for name in ("environ", "getenv", "environb", "putenv")
            }, node.lineno
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            assert not {alias.name for alias in node.names} & {"environ", "getenv"}


@pytest.mark.parametrize("path", [file for file in FILES if "workers" in str(file.id)])
def test_messages_are_hints_and_never_carry_a_time_or_a_retry(path: Path) -> None:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            assert not {word.arg for word in node.keywords} & {"countdown", "eta"}, node.lineno
            function = node.func
            assert not (isinstance(function, ast.Attribute) and function.attr == "retry")
        if isinstance(node, ast.keyword):
            assert node.arg not in ("autoretry_for", "retry_backoff", "acks_late"), node.value


def test_the_product_never_sets_what_would_retry_a_request() -> None:
    text = (ROOT / "app" / "pinterest" / "wire.py").read_text(encoding="utf-8")
    assert "max_retries=0" in text
    assert "allow_redirects=False" in text
    assert "trust_env = False" in text
