"""The first schema

A migration may not break the version that is running: expand, deploy, then contract.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
breaks_before = None


# What a call of intake does in the database before its chunks; here, because a function keeps its
# plans, which is worth a fiftieth of the time that staging 1,000 events takes.
RECEIVE_CALL = """
CREATE FUNCTION receive_call(
    gate_class integer, gates integer[], source text, dedupe_key text, accepted bigint,
    rejected jsonb, audience_ids bigint[], message_counts smallint[], email_counts smallint[],
    maid_counts smallint[], message_ids bytea
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
                         audience_ids, message_counts, email_counts, maid_counts, message_ids)
    VALUES (source, dedupe_key, accepted, rejected,
            audience_ids, message_counts, email_counts, maid_counts, message_ids)
        ON CONFLICT (source, dedupe_key) WHERE dedupe_key IS NOT NULL DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the call was received before' USING ERRCODE = 'PF002';
    END IF;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "carried",
        sa.Column("audience_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("message_count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("email_received", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("maid_received", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("audience_id", name=op.f("carried_pkey")),
    )
    op.create_table(
        "connection",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("ad_account_id", sa.Text(), nullable=False),
        sa.Column("forward_email", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column(
            "forward_device_id", sa.Boolean(), server_default=sa.text("true"), nullable=False
        ),
        sa.Column(
            "forward_other_digests", sa.Boolean(), server_default=sa.text("true"), nullable=False
        ),
        sa.Column(
            "create_on_activation", sa.Boolean(), server_default=sa.text("true"), nullable=False
        ),
        sa.Column("device_id_case", sa.Text(), server_default="lower", nullable=False),
        sa.Column("flush_messages", sa.BigInteger(), nullable=True),
        sa.Column("flush_age", sa.Double(), nullable=True),
        sa.Column("record_cap", sa.BigInteger(), nullable=True),
        sa.Column("records_per_request", sa.Integer(), nullable=True),
        sa.Column("writes_per_minute", sa.Integer(), nullable=True),
        sa.Column("removal_reserve", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("held_reason", sa.Text(), nullable=True),
        sa.Column("held_message", sa.Text(), nullable=True),
        sa.Column("held_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "device_id_case IN ('lower', 'upper', 'as_is')",
            name=op.f("connection_device_id_case_check"),
        ),
        sa.CheckConstraint(
            "(held_reason IS NULL) = (held_at IS NULL)", name=op.f("connection_held_check")
        ),
        sa.CheckConstraint(
            "record_cap BETWEEN 0 AND 300000000", name=op.f("connection_record_cap_check")
        ),
        sa.CheckConstraint(
            "removal_reserve BETWEEN 0 AND 300000000", name=op.f("connection_removal_reserve_check")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("connection_pkey")),
    )
    op.create_index(
        "connection_name_key",
        "connection",
        ["name"],
        unique=True,
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_table(
        "login",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("access_sealed", sa.LargeBinary(), nullable=False),
        sa.Column(
            "obtained_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("access_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refresh_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("refresh_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("previous_refresh_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("scopes", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("warned_days", sa.Integer(), nullable=True),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["connection.id"], name=op.f("login_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("login_pkey")),
    )
    op.create_table(
        "budget",
        sa.Column("connection_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("next_slot_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("learnt_per_minute", sa.Double(), nullable=True),
        sa.Column("learnt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("day_began_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("day_used", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "category IN ('ads_write', 'ads_read', 'org_read')", name=op.f("budget_category_check")
        ),
        sa.PrimaryKeyConstraint("connection_id", "category", name=op.f("budget_pkey")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "process",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key_ids", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "seen_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("process_pkey")),
    )
    op.create_table(
        "encryption_key",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("check_value", sa.LargeBinary(), nullable=False),
        sa.Column(
            "registered_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("dropped_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("key_id", name=op.f("encryption_key_pkey")),
    )
    op.create_table(
        "held_chunk",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("audience_id", sa.BigInteger(), nullable=False),
        sa.Column("message_count", sa.SmallInteger(), nullable=False),
        sa.Column("email_count", sa.SmallInteger(), nullable=False),
        sa.Column("maid_count", sa.SmallInteger(), nullable=False),
        sa.Column(
            "arrived_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("held_reason", sa.Text(), nullable=False),
        sa.Column(
            "held_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("held_chunk_pkey")),
    )
    op.create_table(
        "receipt",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=True),
        sa.Column(
            "received_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("accepted", sa.BigInteger(), nullable=False),
        sa.Column("rejected", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("audience_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("message_counts", postgresql.ARRAY(sa.SmallInteger()), nullable=False),
        sa.Column("email_counts", postgresql.ARRAY(sa.SmallInteger()), nullable=False),
        sa.Column("maid_counts", postgresql.ARRAY(sa.SmallInteger()), nullable=False),
        sa.Column("message_ids", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("receipt_pkey")),
    )
    op.create_index(
        "receipt_source_dedupe_key_key",
        "receipt",
        ["source", "dedupe_key"],
        unique=True,
        postgresql_where=sa.text("dedupe_key IS NOT NULL"),
    )
    op.create_index(
        "receipt_received_at_idx", "receipt", ["received_at"], unique=False, postgresql_using="brin"
    )
    op.create_table(
        "staged_chunk",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("audience_id", sa.BigInteger(), nullable=False),
        sa.Column("message_count", sa.SmallInteger(), nullable=False),
        sa.Column("email_count", sa.SmallInteger(), nullable=False),
        sa.Column("maid_count", sa.SmallInteger(), nullable=False),
        sa.Column(
            "arrived_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint(
            "audience_id",
            "id",
            name=op.f("staged_chunk_pkey"),
            postgresql_include=["message_count"],
        ),
        postgresql_with={
            "autovacuum_vacuum_scale_factor": "0.05",
            "autovacuum_vacuum_insert_scale_factor": "0.05",
        },
    )
    op.create_table(
        "sweep",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "finished_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("found", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("sweep_pkey")),
    )
    op.create_table(
        "audience",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("connection_id", sa.BigInteger(), nullable=False),
        sa.Column("upstream_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="active", nullable=False),
        sa.Column(
            "activated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("last_upload_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("drain_to", sa.BigInteger(), nullable=True),
        sa.Column("flush_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("flush_failures", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "state IN ('active', 'paused', 'deactivated')", name=op.f("audience_state_check")
        ),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["connection.id"], name=op.f("audience_connection_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("audience_pkey")),
        sa.UniqueConstraint(
            "connection_id", "upstream_id", name=op.f("audience_connection_id_upstream_id_key")
        ),
        postgresql_with={"fillfactor": 70},
    )
    op.create_index(
        "audience_deactivated_idx",
        "audience",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'deactivated'"),
    )
    op.create_table(
        "customer_list",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("audience_id", sa.BigInteger(), nullable=False),
        sa.Column("list_type", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("current", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("pinterest_list_id", sa.Text(), nullable=True),
        sa.Column("pinterest_audience_id", sa.Text(), nullable=True),
        sa.Column("audience_not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("charged", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("unknown_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("unknown_upload_id", sa.BigInteger(), nullable=True),
        sa.Column("unknown_streak", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("create_unknown_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("probe_upload_id", sa.BigInteger(), nullable=True),
        sa.Column("proved_upload_id", sa.BigInteger(), nullable=True),
        sa.Column("observe_not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("served_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("held_reason", sa.Text(), nullable=True),
        sa.Column("held_message", sa.Text(), nullable=True),
        sa.Column("held_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "list_type IN ('EMAIL', 'MAID')", name=op.f("customer_list_list_type_check")
        ),
        sa.CheckConstraint(
            "(held_reason IS NULL) = (held_at IS NULL)", name=op.f("customer_list_held_check")
        ),
        sa.CheckConstraint("charged BETWEEN 0 AND 300000000", name=op.f("customer_list_cap_check")),
        sa.ForeignKeyConstraint(
            ["audience_id"], ["audience.id"], name=op.f("customer_list_audience_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("customer_list_pkey")),
        sa.UniqueConstraint(
            "audience_id",
            "list_type",
            "generation",
            name=op.f("customer_list_audience_id_list_type_generation_key"),
        ),
        sa.UniqueConstraint("pinterest_list_id", name=op.f("customer_list_pinterest_list_id_key")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index(
        "customer_list_current_key",
        "customer_list",
        ["audience_id", "list_type"],
        unique=True,
        postgresql_where=sa.text("current"),
    )
    op.create_table(
        "upload",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("audience_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "cut_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("message_count", sa.BigInteger(), nullable=False),
        sa.Column("email_read", sa.BigInteger(), nullable=False),
        sa.Column("email_not_forwarded", sa.BigInteger(), nullable=False),
        sa.Column("email_folded", sa.BigInteger(), nullable=False),
        sa.Column("maid_read", sa.BigInteger(), nullable=False),
        sa.Column("maid_not_forwarded", sa.BigInteger(), nullable=False),
        sa.Column("maid_folded", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "reason IN ('count', 'age', 'drain', 'asked', 'deactivated')",
            name=op.f("upload_reason_check"),
        ),
        sa.CheckConstraint(
            "email_read >= email_not_forwarded + email_folded AND maid_read >= maid_not_forwarded + maid_folded",
            name=op.f("upload_counts_check"),
        ),
        sa.ForeignKeyConstraint(
            ["audience_id"], ["audience.id"], name=op.f("upload_audience_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("upload_pkey")),
    )
    op.create_index("upload_audience_id_id_idx", "upload", ["audience_id", "id"], unique=False)
    op.create_table(
        "attempt",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("customer_list_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=True),
        sa.Column("upload_id", sa.BigInteger(), nullable=True),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("record_count", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default="in_flight", nullable=False),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("pinterest_code", sa.BigInteger(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state = 'in_flight') = (settled_at IS NULL)", name=op.f("attempt_settled_check")
        ),
        sa.CheckConstraint(
            "purpose IN ('ADD', 'REMOVE', 'CREATE', 'PROBE', 'AUDIENCE')",
            name=op.f("attempt_purpose_check"),
        ),
        sa.CheckConstraint(
            "state IN ('in_flight', 'sent', 'refused', 'unknown')", name=op.f("attempt_state_check")
        ),
        sa.CheckConstraint("record_count >= 0", name=op.f("attempt_record_count_check")),
        sa.ForeignKeyConstraint(
            ["customer_list_id"], ["customer_list.id"], name=op.f("attempt_customer_list_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("attempt_pkey")),
    )
    op.create_index(
        "attempt_customer_list_id_id_idx", "attempt", ["customer_list_id", "id"], unique=False
    )
    op.create_index(
        "attempt_in_flight_idx",
        "attempt",
        ["customer_list_id"],
        unique=False,
        postgresql_where=sa.text("state = 'in_flight'"),
    )
    op.create_table(
        "batch",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("upload_id", sa.BigInteger(), nullable=False),
        sa.Column("customer_list_id", sa.BigInteger(), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("record_count", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("refused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'waiting') = (settled_at IS NULL)", name=op.f("batch_settled_check")
        ),
        sa.CheckConstraint(
            "(state IN ('waiting', 'quarantined')) = (payload IS NOT NULL)",
            name=op.f("batch_payload_check"),
        ),
        sa.CheckConstraint("operation IN ('ADD', 'REMOVE')", name=op.f("batch_operation_check")),
        sa.CheckConstraint(
            "state IN ('waiting', 'sent', 'split', 'over_cap', 'not_forwarded', 'quarantined')",
            name=op.f("batch_state_check"),
        ),
        sa.CheckConstraint("record_count > 0", name=op.f("batch_record_count_check")),
        sa.ForeignKeyConstraint(
            ["customer_list_id"], ["customer_list.id"], name=op.f("batch_customer_list_id_fkey")
        ),
        sa.ForeignKeyConstraint(["upload_id"], ["upload.id"], name=op.f("batch_upload_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("batch_pkey")),
    )
    op.create_index(
        "batch_customer_list_id_state_idx", "batch", ["customer_list_id", "state"], unique=False
    )
    op.create_index(
        "batch_lane_idx",
        "batch",
        ["customer_list_id", "upload_id", sa.literal_column("operation DESC"), "id"],
        unique=False,
        postgresql_include=["record_count"],
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index("batch_upload_id_idx", "batch", ["upload_id"], unique=False)
    op.create_table(
        "observation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("customer_list_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "observed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("list_status", sa.Text(), nullable=True),
        sa.Column("audience_status", sa.Text(), nullable=True),
        sa.Column("audience_size", sa.BigInteger(), nullable=True),
        sa.Column("batches", sa.BigInteger(), nullable=True),
        sa.Column("uploaded_records", sa.BigInteger(), nullable=True),
        sa.Column("removed_records", sa.BigInteger(), nullable=True),
        sa.Column("exceptions", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("finding", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["customer_list_id"],
            ["customer_list.id"],
            name=op.f("observation_customer_list_id_fkey"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("observation_pkey")),
    )
    op.create_index(
        "observation_customer_list_id_id_idx",
        "observation",
        ["customer_list_id", "id"],
        unique=False,
    )
    # sealed bodies do not compress
    op.execute("ALTER TABLE staged_chunk ALTER COLUMN body SET STORAGE EXTERNAL")
    op.execute("ALTER TABLE batch ALTER COLUMN payload SET STORAGE EXTERNAL")
    op.execute(RECEIVE_CALL)


def downgrade() -> None:
    op.execute("DROP FUNCTION receive_call")
    op.drop_index("observation_customer_list_id_id_idx", table_name="observation")
    op.drop_table("observation")
    op.drop_index("batch_upload_id_idx", table_name="batch")
    op.drop_index(
        "batch_lane_idx",
        table_name="batch",
        postgresql_include=["record_count"],
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.drop_index("batch_customer_list_id_state_idx", table_name="batch")
    op.drop_table("batch")
    op.drop_index(
        "attempt_in_flight_idx",
        table_name="attempt",
        postgresql_where=sa.text("state = 'in_flight'"),
    )
    op.drop_index("attempt_customer_list_id_id_idx", table_name="attempt")
    op.drop_table("attempt")
    op.drop_index("upload_audience_id_id_idx", table_name="upload")
    op.drop_table("upload")
    op.drop_index(
        "customer_list_current_key", table_name="customer_list", postgresql_where=sa.text("current")
    )
    op.drop_table("customer_list")
    op.drop_index(
        "audience_deactivated_idx",
        table_name="audience",
        postgresql_where=sa.text("state = 'deactivated'"),
    )
    op.drop_table("audience")
    op.drop_table("sweep")
    op.drop_table("staged_chunk")
    op.drop_index("receipt_received_at_idx", table_name="receipt", postgresql_using="brin")
    op.drop_index(
        "receipt_source_dedupe_key_key",
        table_name="receipt",
        postgresql_where=sa.text("dedupe_key IS NOT NULL"),
    )
    op.drop_table("receipt")
    op.drop_table("held_chunk")
    op.drop_table("encryption_key")
    op.drop_table("process")
    op.drop_table("budget")
    op.drop_table("login")
    op.drop_index(
        "connection_name_key",
        table_name="connection",
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.drop_table("connection")
    op.drop_table("carried")
