"""The environment, read once and validated whole. No other module reads ``os.environ``.

Every setting is ``PINFOLD_<NAME>``; every secret may come from ``PINFOLD_<NAME>_FILE`` instead.
Where neither a database nor a broker is named, those of a stack that runs in ``.pinfold/`` here
(`pinfold up`, `make demo`) are used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from app.errors import ConfigError

PREFIX = "PINFOLD_"
STATE = Path(".pinfold")
RUN_FILES = tuple(STATE / run / "run.json" for run in ("stack", "trial", "demo"))
CAP = 300_000_000
"""Raw records after which nothing more is sent to one Pinterest audience."""
LONGEST_WAIT = 3_600.0
"""Seconds: no answer of Pinterest stops anything for longer, but for an app on trial access."""


class Settings(BaseModel):
    """What the environment says. Durations are seconds, sizes are counts of what they name."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    database_url: str | None = Field(None, description="Postgres, postgresql+psycopg2://...")
    broker_url: str | None = Field(None, description="amqp://... or redis://...")
    keys: SecretStr | None = Field(None, description="the key ring, newest first, see `keys`")
    pinterest_url: str = Field("https://api.pinterest.com/v5", description="API base address")
    consent_url: str = Field(
        "https://www.pinterest.com/oauth/", description="page where people allow the login"
    )
    app_id: str | None = Field(None, description="id of your Pinterest app")
    app_secret: SecretStr | None = Field(None, description="secret of your Pinterest app")
    callback_port: int = Field(
        8085, ge=1, le=65_535, description="of http://localhost:PORT/, registered with your app"
    )
    allow_plain_http: bool = Field(False, description="permit http:// to a loopback address")
    log_level: str = Field(
        "INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="of `pinfold intake`"
    )

    flush_messages: int = Field(100_000, ge=1, description="waiting messages that trigger a flush")
    flush_age: float = Field(10_800, gt=0, description="age of the last upload that triggers one")
    record_cap: int = Field(CAP, ge=0, le=CAP, description="records per Pinterest audience")
    records_per_request: int = Field(1_900, ge=1, le=100_000, description="digests in one request")
    writes_per_minute: int = Field(400, ge=1, description="write requests of one connection")
    reads_per_minute: int = Field(1_000, ge=1, description="read requests of one connection")
    trial_app: bool = Field(False, description="the app has trial access: 300 writes a day in all")
    check_interval: float = Field(15, gt=0, description="between two due checks by beat")

    body_limit: int = Field(8 << 20, ge=1_024, description="bytes of one HTTP body, unpacked")
    body_timeout: float = Field(30, gt=0, description="for one HTTP body to arrive")
    events_per_call: int = Field(10_000, ge=1, description="messages in one HTTP body")
    backlog_limit: int = Field(
        50_000_000, ge=1, description="waiting messages of a connection at which HTTP says: later"
    )

    window_messages: int = Field(125_000, ge=1, description="most messages in one upload")
    window_identities: int = Field(250_000, ge=1, description="most identities in one upload")
    lane_limit: int = Field(2_000_000, ge=1, description="records a held list may pile up")

    connect_timeout: float = Field(5, gt=0, description="to reach Pinterest")
    read_timeout: float = Field(60, gt=0, description="between two reads of its answer")
    call_deadline: float = Field(90, gt=0, description="for one request in all")
    dead_man: float = Field(110, gt=0, description="after which a frozen worker is killed")
    lease: float = Field(120, gt=0, description="how long a worker holds what it works on")
    quarantine: float = Field(900, gt=0, description="rest after an unknown outcome")
    slice: float = Field(2, gt=0, description="a list's turn while it has more to send")
    backoff_first: float = Field(30, gt=0, description="first pause after a failure")
    backoff_most: float = Field(3_600, gt=0, description="longest pause after failures")
    patience: float = Field(10, gt=0, description="longest wait for a rate slot under a lease")
    canary_interval: float = Field(3_600, gt=0, description="between two looks at what is held")
    observe_interval: float = Field(3_600, gt=0, description="between two looks after an upload")
    observe_idle: float = Field(86_400, gt=0, description="between two looks without uploads")
    history_days: int = Field(
        30, ge=8, description="days for which settled uploads and requests are kept, not only sums"
    )
    give_back_unknown: bool = Field(
        False, description="give back charges of unknown attempts when the counters agree"
    )

    @model_validator(mode="after")
    def _times_form_a_chain(self) -> Settings:
        check_chain(self, self.flush_age)
        return self

    @model_validator(mode="after")
    def _pinterest_is_spoken_to_safely(self) -> Settings:
        for name in ("pinterest_url", "consent_url"):
            address = urlsplit(getattr(self, name))
            loopback = address.hostname in ("127.0.0.1", "localhost", "::1")
            if address.scheme != "https" and not (self.allow_plain_http and loopback):
                raise ValueError(
                    f"{name} must be https://; plain http is for a simulator on a loopback "
                    "address only, with PINFOLD_ALLOW_PLAIN_HTTP=1"
                )
        return self

    @property
    def longest_pause(self) -> float:
        """Seconds no pause of a list, an audience or a connection exceeds, whoever asked for it.

        A stored time much further ahead was not set by this clock (`app.lease.has_passed`). Only
        pauses of a trial app may take longer, up to a day.
        """
        return max(self.backoff_most, self.canary_interval, self.quarantine, LONGEST_WAIT)

    def require_database_url(self) -> str:
        """The database's address with its driver spelled out; raises ConfigError without one."""
        if not self.database_url:
            raise ConfigError(
                "no database: set PINFOLD_DATABASE_URL=postgresql+psycopg2://user@host/name, "
                "or start one here with `pinfold up`"
            )
        scheme, _, rest = self.database_url.partition("://")
        if scheme not in ("postgresql", "postgres", "postgresql+psycopg2"):
            raise ConfigError("PINFOLD_DATABASE_URL must start with postgresql+psycopg2://")
        url = f"postgresql+psycopg2://{rest}"  # a bare one means another driver to SQLAlchemy 2.1
        try:
            make_url(url)
        except (ValueError, ArgumentError):  # their texts repeat a part of it
            raise ConfigError(
                "PINFOLD_DATABASE_URL is no address: postgresql+psycopg2://user:password@host/name"
            ) from None
        return url

    def require_broker_url(self) -> str:
        """The broker's address; raises ConfigError when none is set."""
        if not self.broker_url:
            raise ConfigError(
                "no broker: set PINFOLD_BROKER_URL=amqp://user@host/vhost (or redis://host/0), "
                "or start one here with `pinfold up`"
            )
        return self.broker_url

    def require_keys(self) -> str:
        """The key ring's text; raises ConfigError when none is set."""
        if self.keys is None or not self.keys.get_secret_value().strip():
            raise ConfigError(
                "no encryption key: set PINFOLD_KEYS or PINFOLD_KEYS_FILE; "
                "`pinfold keys new` prints a fresh one"
            )
        return self.keys.get_secret_value()

    def require_app(self) -> tuple[str, str]:
        """Id and secret of the Pinterest app; raises ConfigError when one is not set."""
        secret = self.app_secret.get_secret_value().strip() if self.app_secret else ""
        if not self.app_id or not secret:
            raise ConfigError(
                "no Pinterest app: set PINFOLD_APP_ID and PINFOLD_APP_SECRET (or "
                "PINFOLD_APP_SECRET_FILE) as developers.pinterest.com shows them"
            )
        return self.app_id, secret


CHAIN = ("connect_timeout", "read_timeout", "call_deadline", "dead_man", "lease", "quarantine")


def check_chain(settings: Settings, flush_age: float) -> None:
    """Raise ValueError unless each time is shorter than the next (design section 4, "Times")."""
    named = [(name, float(getattr(settings, name))) for name in CHAIN] + [("flush_age", flush_age)]
    for (shorter, low), (longer, high) in pairwise(named):
        if low >= high:
            raise ValueError(
                f"{shorter} ({low:g} s) must be shorter than {longer} ({high:g} s): "
                f"{' < '.join(CHAIN)} < flush_age"
            )


def load_settings(
    environ: Mapping[str, str] | None = None, *, of_running_stack: bool = True
) -> Settings:
    """Read and check the whole environment; every problem is named in one ConfigError.

    ``of_running_stack``: where no database is named, that of a stack that runs here is meant.
    """
    environ = os.environ if environ is None else environ
    values = _from_running_stack(environ) if of_running_stack else {}
    values |= _from_environment(environ)
    try:
        return Settings(**values)
    except ValidationError as problem:
        raise ConfigError("; ".join(_explain(error) for error in problem.errors())) from None


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable.startswith(f"{PREFIX}TEST_"):
            continue
        name = variable.removeprefix(PREFIX).lower()
        from_file = name not in Settings.model_fields and name.endswith("_file")
        if not from_file and value == "":
            continue
        name = name.removesuffix("_file") if from_file else name
        if name in values:
            raise ConfigError(f"{PREFIX}{name.upper()} and its _FILE are both set: unset one")
        values[name] = _read_secret(variable, Path(value)) if from_file else value
    return values


def _read_secret(variable: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{variable}: cannot read {path}: {type(problem).__name__}") from None


def _from_running_stack(environ: Mapping[str, str]) -> dict[str, Any]:
    """What `pinfold up` or the demo wrote down, unless a database is named explicitly."""
    if any(f"{PREFIX}DATABASE_URL{end}" in environ for end in ("", "_FILE")):
        return {}
    for path in RUN_FILES:
        try:
            run = json.loads(path.read_text())
            os.kill(run["pid"], 0)
        except (OSError, ValueError, KeyError):
            continue  # none runs there, or one that was killed
        return _from_environment(run["environment"])
    return {}


def _explain(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    variable = f"{PREFIX}{where.upper()}" if where else "settings"
    if error["type"] == "extra_forbidden":
        return f"{variable}: there is no such setting (README, Settings, lists them)"
    return f"{variable}: {error['msg'].removeprefix('Value error, ')}"


def environment() -> dict[str, str]:
    """The whole environment as it stands, for processes started on the user's behalf."""
    return dict(os.environ)


def set_for_children(variable: str, value: str) -> None:
    """Add to the environment what a library reads there in processes that are started from now."""
    os.environ[variable] = value
