"""The tables, their constraints and indexes. The states, drawn:

    audience         active <-> paused          kept, nothing is sent while paused
                     active | paused -> deactivated -> active    (activating again)

    customer_list    no pinterest_list_id -> list made -> pinterest_audience_id (ready)
                     held_reason set: waits for a person or a condition, at any point
                     current = false: an older generation, takes no new uploads

    batch            waiting -> sent            a request with it was answered 2xx
                     waiting -> split           replaced by two batches (413, 400, the cap)
                     waiting -> over_cap        no room was left under the cap
                     waiting -> not_forwarded   its kind was switched off, deactivated, written off
                     waiting -> quarantined     refused alone while its list is well

    attempt          in_flight -> sent          2xx: the charge stays
                     in_flight -> refused       certainly not processed: the charge is given back
                     in_flight -> unknown       anything else: the charge stays, it goes again
                     unknown -> refused         proven by the counters, where that is switched on
                     (RECOVERY: unknown from the start; no request of its own, but what Pinterest
                     counted and a restored database does not know)

``charged`` of a list = the sum of ``record_count`` over its attempts that were not refused.
Times are the database's (``clock_timestamp()``). A lease is ``epoch`` (raised at every claim) with
``lease_until``; whoever writes under a lease names the epoch and must hit exactly one row.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects.postgresql import insert

metadata = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def _time(name: str, *, required: bool = False) -> sa.Column[Any]:
    default = sa.text("clock_timestamp()") if required else None
    return sa.Column(
        name, sa.DateTime(timezone=True), nullable=not required, server_default=default
    )


def _count(
    name: str, default: int | None = 0, kind: type[sa.Integer] = sa.BigInteger
) -> sa.Column[Any]:
    return sa.Column(
        name,
        kind,
        nullable=False,
        server_default=None if default is None else sa.text(str(default)),
    )


def _switch(name: str, default: bool) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.text(str(default).lower()))


def _one_of(column: str, *values: str) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=column)


def _refers(name: str, target: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, sa.ForeignKey(target), nullable=False)


def _chunk_columns() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("audience_id", sa.BigInteger, nullable=False),
        _count("message_count", None, sa.SmallInteger),
        _count("email_count", None, sa.SmallInteger),
        _count("maid_count", None, sa.SmallInteger),
        _time("arrived_at", required=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )


encryption_key = sa.Table(
    "encryption_key",
    metadata,
    sa.Column("key_id", sa.Text, primary_key=True),
    sa.Column("check_value", sa.LargeBinary, nullable=False),
    _time("registered_at", required=True),
    # remembered, so that a key that was given up is never taken for a new one
    _time("dropped_at"),
)

connection = sa.Table(
    "connection",
    metadata,
    _id(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("ad_account_id", sa.Text, nullable=False),
    _switch("forward_email", True),
    _switch("forward_device_id", True),
    _switch("forward_other_digests", True),
    _switch("create_on_activation", True),
    sa.Column("device_id_case", sa.Text, nullable=False, server_default="lower"),
    # NULL: the deployment's setting of the same name
    sa.Column("flush_messages", sa.BigInteger),
    sa.Column("flush_age", sa.Double),
    sa.Column("record_cap", sa.BigInteger),
    sa.Column("records_per_request", sa.Integer),
    sa.Column("writes_per_minute", sa.Integer),
    _count("removal_reserve"),
    sa.Column("held_reason", sa.Text),
    sa.Column("held_message", sa.Text),
    _time("held_at"),
    _time("not_before"),
    _time("created_at", required=True),
    _time("removed_at"),
    # where the database was restored: of what time the backup was, and when `recover` ran
    _time("backup_taken_at"),
    _time("restored_at"),
    sa.Index(
        "connection_name_key", "name", unique=True, postgresql_where=sa.text("removed_at IS NULL")
    ),
    _one_of("device_id_case", "lower", "upper", "as_is"),
    sa.CheckConstraint("record_cap BETWEEN 0 AND 300000000", name="record_cap"),
    sa.CheckConstraint("removal_reserve BETWEEN 0 AND 300000000", name="removal_reserve"),
    sa.CheckConstraint("(held_reason IS NULL) = (held_at IS NULL)", name="held"),
)

# The tokens of a connection: one row each, under a lease of its own while they are renewed.
login = sa.Table(
    "login",
    metadata,
    sa.Column(
        "id", sa.BigInteger, sa.ForeignKey("connection.id"), primary_key=True, autoincrement=False
    ),
    sa.Column("access_sealed", sa.LargeBinary, nullable=False),
    _time("obtained_at", required=True),
    # NULL: unknown, as with a token from a file
    _time("access_expires_at"),
    sa.Column("refresh_sealed", sa.LargeBinary),
    _time("refresh_expires_at"),
    # kept until the newer one has worked once
    sa.Column("previous_refresh_sealed", sa.LargeBinary),
    sa.Column("scopes", sa.Text),
    # raised whenever the tokens change: tells a stale refusal from one of the present token
    _count("version", 1),
    # when a refusal of the access token last led to a renewal
    _time("refused_at"),
    # why the last renewal failed, as Pinterest said it
    sa.Column("problem", sa.Text),
    # the last warning before the refresh token dies, in days
    sa.Column("warned_days", sa.Integer),
    _count("epoch"),
    _time("lease_until"),
    _time("not_before"),
    _count("failures"),
)

APP = 0
"""The connection of a budget that all connections share, because it is the app's."""

# The pace of requests: one row per connection and category.
budget = sa.Table(
    "budget",
    metadata,
    sa.Column("connection_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("category", sa.Text, primary_key=True),
    _time("next_slot_at"),
    _time("not_before"),
    # what 429s and headers taught, NULL: as configured
    sa.Column("learnt_per_minute", sa.Double),
    _time("learnt_at"),
    _time("day_began_at"),
    _count("day_used"),
    _one_of("category", "ads_write", "ads_read", "org_read"),
    postgresql_with={"fillfactor": 50},
)

# Running processes: the keys they hold, so that a key in use is not dropped, and the schema they
# need, so that nothing of it is taken away.
process = sa.Table(
    "process",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("key_ids", pg.ARRAY(sa.Text), nullable=False),
    # NULL: a version that does not say it yet
    sa.Column("schema_revision", sa.Text),
    _time("started_at", required=True),
    _time("seen_at", required=True),
)

# One row: the oldest schema revision whose code still runs on this schema.
oldest_code = sa.Table("oldest_code", metadata, sa.Column("revision", sa.Text, primary_key=True))

audience = sa.Table(
    "audience",
    metadata,
    _id(),
    _refers("connection_id", "connection.id"),
    sa.Column("upstream_id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="active"),
    _time("activated_at", required=True),
    _time("last_upload_at"),
    sa.Column("drain_to", sa.BigInteger),
    _time("flush_requested_at"),
    _count("epoch"),
    _time("lease_until"),
    _time("not_before"),
    _count("flush_failures"),
    # when the upstream system last connected or disconnected it, by its own clock
    sa.Column("subscribed_at_us", sa.BigInteger),
    sa.UniqueConstraint("connection_id", "upstream_id"),
    _one_of("state", "active", "paused", "deactivated"),
    # intake asks at every call which of its audiences are deactivated: hardly ever any
    sa.Index("audience_deactivated_idx", "id", postgresql_where=sa.text("state = 'deactivated'")),
    postgresql_with={"fillfactor": 70},
)

customer_list = sa.Table(
    "customer_list",
    metadata,
    _id(),
    _refers("audience_id", "audience.id"),
    sa.Column("list_type", sa.Text, nullable=False),
    _count("generation", 1),
    _switch("current", True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("pinterest_list_id", sa.Text, unique=True),
    sa.Column("pinterest_audience_id", sa.Text),
    _time("audience_not_before"),
    _count("charged"),
    _count("epoch"),
    _time("lease_until"),
    _time("not_before"),
    _count("failures"),
    _time("unknown_at"),
    sa.Column("unknown_upload_id", sa.BigInteger),
    _count("unknown_streak"),
    _time("create_unknown_at"),
    sa.Column("probe_upload_id", sa.BigInteger),
    sa.Column("proved_upload_id", sa.BigInteger),
    # the next look at what Pinterest says of it; pushed ahead by whoever looks
    _time("observe_not_before"),
    # the last request of a turn: who was served longest ago is next
    _time("served_at"),
    sa.Column("held_reason", sa.Text),
    sa.Column("held_message", sa.Text),
    _time("held_at"),
    sa.UniqueConstraint("audience_id", "list_type", "generation"),
    _one_of("list_type", "EMAIL", "MAID"),
    sa.CheckConstraint("charged BETWEEN 0 AND 300000000", name="cap"),
    sa.CheckConstraint("(held_reason IS NULL) = (held_at IS NULL)", name="held"),
    sa.Index(
        "customer_list_current_key",
        "audience_id",
        "list_type",
        unique=True,
        postgresql_where=sa.text("current"),
    ),
    postgresql_with={"fillfactor": 50},
)

# Insert and delete only. No foreign key: it would lock the audience's row at every call (P4).
# One index serves the due check (index only), the cut and the delete.
staged_chunk = sa.Table(
    "staged_chunk",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
    *_chunk_columns(),
    sa.PrimaryKeyConstraint("audience_id", "id", postgresql_include=["message_count"]),
    postgresql_with={
        "autovacuum_vacuum_scale_factor": "0.05",
        "autovacuum_vacuum_insert_scale_factor": "0.05",
    },
)

# Chunks that cannot be flushed, set aside with their id and the reason; a person decides.
held_chunk = sa.Table(
    "held_chunk",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    *_chunk_columns(),
    sa.Column("held_reason", sa.Text, nullable=False),
    _time("held_at", required=True),
)

# One row per intake call: what was accepted, recorded apart from what became of it.
receipt = sa.Table(
    "receipt",
    metadata,
    _id(),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("dedupe_key", sa.Text),
    _time("received_at", required=True),
    _count("accepted", None),
    sa.Column("rejected", pg.JSONB, nullable=False),
    # the four arrays run in parallel: per audience, messages and identities accepted
    sa.Column("audience_ids", pg.ARRAY(sa.BigInteger), nullable=False),
    sa.Column("message_counts", pg.ARRAY(sa.SmallInteger), nullable=False),
    sa.Column("email_counts", pg.ARRAY(sa.SmallInteger), nullable=False),
    sa.Column("maid_counts", pg.ARRAY(sa.SmallInteger), nullable=False),
    sa.Column("message_ids", sa.LargeBinary),
    # doubts in spite of which something was taken, and what was no membership change, by reason
    sa.Column("noted", pg.JSONB),
    # calls without a key are never looked up
    sa.Index(
        "receipt_source_dedupe_key_key",
        "source",
        "dedupe_key",
        unique=True,
        postgresql_where=sa.text("dedupe_key IS NOT NULL"),
    ),
    sa.Index("receipt_received_at_idx", "received_at", postgresql_using="brin"),
)

# Messages that came with an id of their own, for a week: one that comes again counts once.
message_key = sa.Table(
    "message_key",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("key", sa.Uuid, primary_key=True),
    # NULL: the id alone says that it is the same message
    sa.Column("content", sa.LargeBinary),
    sa.Column("answer", sa.LargeBinary),
    _time("received_at", required=True),
    sa.Index("message_key_received_at_idx", "received_at", postgresql_using="brin"),
)

# Ways in over HTTP: an address for one upstream system, bound to one connection.
source = sa.Table(
    "source",
    metadata,
    _id(),
    sa.Column("name", sa.Text, nullable=False),
    _refers("connection_id", "connection.id"),
    sa.Column("format", sa.Text, nullable=False),
    _switch("activate_unknown", False),
    sa.Column("audience", sa.Text),
    sa.Column("audience_key", sa.Text),
    sa.Column("identifiers", pg.JSONB, nullable=False, server_default="{}"),
    _time("created_at", required=True),
    _time("removed_at"),
    sa.Index(
        "source_name_key", "name", unique=True, postgresql_where=sa.text("removed_at IS NULL")
    ),
    _one_of("format", "events", "mparticle", "segment", "rudderstack"),
)

# What a source shows to be let in. A signing key must be read again, so it is sealed.
source_secret = sa.Table(
    "source_secret",
    metadata,
    _id(),
    _refers("source_id", "source.id"),
    sa.Column("digest", sa.LargeBinary, unique=True),
    sa.Column("signing_sealed", sa.LargeBinary),
    _time("created_at", required=True),
    _time("revoked_at"),
    sa.CheckConstraint("(digest IS NULL) <> (signing_sealed IS NULL)", name="one_kind"),
    sa.Index("source_secret_source_id_idx", "source_id"),
)

# Logins of programs to /v1; a token is shown once and only its digest is kept.
api_token = sa.Table(
    "api_token",
    metadata,
    _id(),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
    # NULL: every connection
    sa.Column("connection_id", sa.BigInteger, sa.ForeignKey("connection.id")),
    sa.Column("permission", sa.Text, nullable=False),
    _time("created_at", required=True),
    _time("revoked_at"),
    sa.Index(
        "api_token_name_key", "name", unique=True, postgresql_where=sa.text("revoked_at IS NULL")
    ),
    _one_of("permission", "read", "write", "administer"),
)

upload = sa.Table(
    "upload",
    metadata,
    _id(),
    _refers("audience_id", "audience.id"),
    _time("cut_at", required=True),
    sa.Column("reason", sa.Text, nullable=False),
    _count("message_count", None),
    _count("email_read", None),
    _count("email_not_forwarded", None),
    _count("email_folded", None),
    _count("maid_read", None),
    _count("maid_not_forwarded", None),
    _count("maid_folded", None),
    _one_of("reason", "count", "age", "drain", "asked", "deactivated", "given up", "key lost"),
    sa.CheckConstraint(
        "email_read >= email_not_forwarded + email_folded"
        " AND maid_read >= maid_not_forwarded + maid_folded",
        name="counts",
    ),
    sa.Index("upload_audience_id_id_idx", "audience_id", "id"),
    sa.Index("upload_cut_at_idx", "cut_at", postgresql_using="brin"),
)

batch = sa.Table(
    "batch",
    metadata,
    _id(),
    _refers("upload_id", "upload.id"),
    _refers("customer_list_id", "customer_list.id"),
    sa.Column("parent_id", sa.BigInteger),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("record_count", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="waiting"),
    _switch("refused", False),
    sa.Column("payload", sa.LargeBinary),
    _time("settled_at"),
    _one_of("operation", "ADD", "REMOVE"),
    _one_of("state", "waiting", "sent", "split", "over_cap", "not_forwarded", "quarantined"),
    sa.CheckConstraint("record_count > 0", name="record_count"),
    sa.CheckConstraint("(state = 'waiting') = (settled_at IS NULL)", name="settled"),
    sa.CheckConstraint(
        "(state IN ('waiting', 'quarantined')) = (payload IS NOT NULL)", name="payload"
    ),
    # the lane: of one upload REMOVEs go before ADDs
    sa.Index(
        "batch_lane_idx",
        "customer_list_id",
        "upload_id",
        sa.text("operation DESC"),
        "id",
        postgresql_include=["record_count"],
        postgresql_where=sa.text("state = 'waiting'"),
    ),
    sa.Index("batch_customer_list_id_state_idx", "customer_list_id", "state"),
    sa.Index("batch_upload_id_idx", "upload_id"),
)

attempt = sa.Table(
    "attempt",
    metadata,
    _id(),
    _refers("customer_list_id", "customer_list.id"),
    sa.Column("batch_id", sa.BigInteger),
    sa.Column("upload_id", sa.BigInteger),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("record_count", sa.Integer, nullable=False),
    _count("epoch", None),
    sa.Column("state", sa.Text, nullable=False, server_default="in_flight"),
    _time("started_at", required=True),
    _time("settled_at"),
    sa.Column("http_status", sa.Integer),
    sa.Column("pinterest_code", sa.BigInteger),
    sa.Column("request_id", sa.Text),
    sa.Column("detail", sa.Text),
    _one_of("purpose", "ADD", "REMOVE", "CREATE", "PROBE", "AUDIENCE", "RECOVERY"),
    _one_of("state", "in_flight", "sent", "refused", "unknown"),
    sa.CheckConstraint("record_count >= 0", name="record_count"),
    sa.CheckConstraint("(state = 'in_flight') = (settled_at IS NULL)", name="settled"),
    sa.Index(
        "attempt_in_flight_idx", "customer_list_id", postgresql_where=sa.text("state = 'in_flight'")
    ),
    sa.Index("attempt_customer_list_id_id_idx", "customer_list_id", "id"),
    sa.Index("attempt_started_at_idx", "started_at", postgresql_using="brin"),
)

observation = sa.Table(
    "observation",
    metadata,
    _id(),
    _refers("customer_list_id", "customer_list.id"),
    _time("observed_at", required=True),
    sa.Column("list_status", sa.Text),
    sa.Column("audience_status", sa.Text),
    sa.Column("audience_size", sa.BigInteger),
    sa.Column("batches", sa.BigInteger),
    sa.Column("uploaded_records", sa.BigInteger),
    sa.Column("removed_records", sa.BigInteger),
    sa.Column("exceptions", pg.JSONB),
    # how the counters compared with our ledger; NULL: a reply to an upload, not compared
    sa.Column("finding", pg.JSONB),
    sa.Index("observation_customer_list_id_id_idx", "customer_list_id", "id"),
)

# Sums of receipts and uploads that were dropped, so that the books still balance.
carried_sum = sa.Table(
    "carried_sum",
    metadata,
    sa.Column("audience_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("list_type", sa.Text, primary_key=True),
    _count("received"),
    _count("not_forwarded"),
    _count("folded"),
    _count("sent"),
    _count("over_cap"),
    _one_of("list_type", "EMAIL", "MAID"),
)

# Sums of accepted attempts that were dropped: of all of them, for the ledger; and, of those since
# the last recovery, what the list's counters should have grown by.
carried_list = sa.Table(
    "carried_list",
    metadata,
    sa.Column("customer_list_id", sa.BigInteger, primary_key=True, autoincrement=False),
    _count("attempted"),
    _count("requests"),
    _count("added"),
    _count("removed"),
)

# The books in sum, as of the last look at them, for monitoring: reading them anew takes a while.
book_sum = sa.Table(
    "book_sum",
    metadata,
    sa.Column("connection_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("item", sa.Text, primary_key=True),
    _count("identities"),
)

# When each recurring step last ended, so that people can be told that beat is alive.
sweep = sa.Table(
    "sweep",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    _time("finished_at", required=True),
    _count("found"),
)


def insert_if_absent(connection: sa.Connection, table: sa.Table, **values: object) -> None:
    """Insert a row unless one with the same key stands already."""
    connection.execute(insert(table).values(**values).on_conflict_do_nothing())
