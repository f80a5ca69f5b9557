"""Intake over HTTP: sources with their secrets, API tokens, messages that count once

Only adds, so that the version before it can go on running: `receive_call` gets one more argument
with a default, which that version leaves out.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
breaks_before = None

OLD_ARGUMENTS = (
    "integer, integer[], text, text, bigint, jsonb, bigint[], smallint[], smallint[], smallint[],"
    " bytea"
)
RECEIVE_CALL = """
CREATE FUNCTION receive_call(
    gate_class integer, gates integer[], source text, dedupe_key text, accepted bigint,
    rejected jsonb, audience_ids bigint[], message_counts smallint[], email_counts smallint[],
    maid_counts smallint[], message_ids bytea{more}
) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    closed text;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(gate_class, gate) FROM unnest(gates) AS gate;
    -- a statement of its own: it sees what was committed before the gates opened
    SELECT string_agg(id::text, ',') INTO closed
      FROM audience WHERE id = ANY(audience_ids) AND state = 'deactivated';
    IF closed IS NOT NULL THEN
        RAISE EXCEPTION 'an audience is deactivated' USING ERRCODE = 'PF001', DETAIL = closed;
    END IF;
    INSERT INTO receipt (source, dedupe_key, accepted, rejected,
                         audience_ids, message_counts, email_counts, maid_counts, message_ids{column})
    VALUES (source, dedupe_key, accepted, rejected,
            audience_ids, message_counts, email_counts, maid_counts, message_ids{column})
        ON CONFLICT (source, dedupe_key) WHERE dedupe_key IS NOT NULL DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the call was received before' USING ERRCODE = 'PF002';
    END IF;
END $$
"""
# Ordered, so that two calls with the same messages wait for each other and never in a circle.
REMEMBER_MESSAGES = """
CREATE FUNCTION remember_messages(source text, keys uuid[], contents bytea[], answers bytea[])
RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    remembered bigint;
BEGIN
    INSERT INTO message_key (source, key, content, answer)
    SELECT source, given.key, given.content, given.answer
      FROM unnest(keys, contents, answers) AS given(key, content, answer)
     ORDER BY given.key
        ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS remembered = ROW_COUNT;
    IF remembered < cardinality(keys) THEN
        RAISE EXCEPTION 'a message was received before' USING ERRCODE = 'PF003';
    END IF;
END $$
"""


def _time(name: str, nullable: bool = False) -> sa.Column[Any]:
    default = None if nullable else sa.text("clock_timestamp()")
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "message_key",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("key", sa.Uuid(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        _time("received_at"),
        sa.PrimaryKeyConstraint("source", "key", name=op.f("message_key_pkey")),
    )
    op.create_index(
        "message_key_received_at_idx", "message_key", ["received_at"], postgresql_using="brin"
    )
    op.create_table(
        "source",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("connection_id", sa.BigInteger(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column(
            "activate_unknown", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
        sa.Column("audience", sa.Text(), nullable=True),
        sa.Column("audience_key", sa.Text(), nullable=True),
        sa.Column("identifiers", postgresql.JSONB(), server_default="{}", nullable=False),
        _time("created_at"),
        _time("removed_at", nullable=True),
        sa.CheckConstraint(
            "format IN ('events', 'mparticle', 'segment', 'rudderstack')",
            name=op.f("source_format_check"),
        ),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connection.id"], name=op.f("source_connection_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("source_pkey")),
    )
    op.create_index(
        "source_name_key",
        "source",
        ["name"],
        unique=True,
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_table(
        "source_secret",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("signing_sealed", sa.LargeBinary(), nullable=True),
        _time("created_at"),
        _time("revoked_at", nullable=True),
        sa.CheckConstraint(
            "(digest IS NULL) <> (signing_sealed IS NULL)",
            name=op.f("source_secret_one_kind_check"),
        ),
        sa.ForeignKeyConstraint(
            ["source_id"], ["source.id"], name=op.f("source_secret_source_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("source_secret_pkey")),
        sa.UniqueConstraint("digest", name=op.f("source_secret_digest_key")),
    )
    op.create_index("source_secret_source_id_idx", "source_secret", ["source_id"], unique=False)
    op.create_table(
        "api_token",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("connection_id", sa.BigInteger(), nullable=True),
        sa.Column("permission", sa.Text(), nullable=False),
        _time("created_at"),
        _time("revoked_at", nullable=True),
        sa.CheckConstraint(
            "permission IN ('read', 'write', 'administer')", name=op.f("api_token_permission_check")
        ),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connection.id"], name=op.f("api_token_connection_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("api_token_pkey")),
        sa.UniqueConstraint("digest", name=op.f("api_token_digest_key")),
    )
    op.create_index(
        "api_token_name_key",
        "api_token",
        ["name"],
        unique=True,
        postgresql_where=sa.text("revoked_at IS NULL"),
    )
    op.add_column("audience", sa.Column("subscribed_at_us", sa.BigInteger(), nullable=True))
    op.add_column("receipt", sa.Column("noted", postgresql.JSONB(), nullable=True))
    op.execute(f"DROP FUNCTION receive_call({OLD_ARGUMENTS})")
    op.execute(RECEIVE_CALL.format(more=", noted jsonb DEFAULT NULL", column=", noted"))
    op.execute(REMEMBER_MESSAGES)


def downgrade() -> None:
    op.execute("DROP FUNCTION remember_messages(text, uuid[], bytea[], bytea[])")
    op.execute(f"DROP FUNCTION receive_call({OLD_ARGUMENTS}, jsonb)")
    op.execute(RECEIVE_CALL.format(more="", column=""))
    op.drop_column("receipt", "noted")
    op.drop_column("audience", "subscribed_at_us")
    for table in ("api_token", "source_secret", "source", "message_key"):
        op.drop_table(table)
