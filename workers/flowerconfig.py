"""Flower in the image: only behind a login, and only to look.

The login comes from a secret file of lines ``name:password``. Without one Flower does not start,
because it would show every page to everybody. ``/metrics`` and ``/healthcheck`` need no login even
so (reliability, B5): they name tasks and workers, never an identity.
"""

from pathlib import Path

from app.settings import environment

login = Path(environment().get("FLOWER_LOGIN_FILE", "/run/secrets/flower_login"))
basic_auth = login.read_text(encoding="utf-8").split() if login.is_file() else []
if not basic_auth or not all(all(one.partition(":")) for one in basic_auth):
    raise SystemExit(f"pinfold: Flower needs a login: write name:password into {login}")

read_only = True
persistent = False
max_tasks = 10_000
