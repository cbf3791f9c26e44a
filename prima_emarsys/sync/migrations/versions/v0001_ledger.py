"""The first shape of the ledger.

Revises: nothing
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

DUE = "payload IS NOT NULL AND lease_token IS NULL AND quarantine_code IS NULL AND filtered_rule IS NULL"


def upgrade() -> None:
    """Make every table of a new ledger."""
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_at", "audit", ["at"], unique=False)
    op.create_table(
        "delivery_call",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("records", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("acknowledged", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_delivery_call"),
    )
    op.create_index("ix_delivery_call_started_at", "delivery_call", ["started_at"], unique=False)
    op.create_table(
        "exception",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("money", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("first_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("times_seen", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_exception"),
    )
    op.create_index(
        "ix_exception_current",
        "exception",
        ["scope", "kind", "record"],
        unique=True,
        sqlite_where=sa.text("resolved_at IS NULL"),
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.create_table(
        "lane",
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("dispatcher", sa.Text(), nullable=True),
        sa.Column("dispatcher_token", sa.Text(), nullable=True),
        sa.Column("dispatcher_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stop_reason", sa.Text(), nullable=True),
        sa.Column("stop_remedy", sa.Text(), nullable=True),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("breaker_window", sa.Text(), nullable=False),
        sa.Column("breaker_open_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("breaker_open_seconds", sa.Integer(), nullable=False),
        sa.Column("held_plan", sa.Text(), nullable=True),
        sa.Column("held_reason", sa.Text(), nullable=True),
        sa.Column("released_plan", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("lane", name="pk_lane"),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_meta"),
    )
    op.create_table(
        "person",
        sa.Column("person_key", sa.Text(), nullable=False),
        sa.Column("founding_company", sa.Text(), nullable=False),
        sa.Column("founding_code", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("merged_into", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["merged_into"], ["person.person_key"], name="fk_person_merged_into"),
        sa.PrimaryKeyConstraint("person_key", name="pk_person"),
        sa.UniqueConstraint("founding_company", "founding_code", name="uq_person_founding_company_founding_code"),
    )
    op.create_table(
        "sync_record",
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("desired_hash", sa.Text(), nullable=True),
        sa.Column("mapping_version", sa.Text(), nullable=True),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column("acked_hash", sa.Text(), nullable=True),
        sa.Column("acked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("inflight_hash", sa.Text(), nullable=True),
        sa.Column("lease_token", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_losses", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("disputes", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("in_doubt_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("may_have_reached", sa.Boolean(), nullable=False),
        sa.Column("quarantine_code", sa.Text(), nullable=True),
        sa.Column("quarantine_text", sa.Text(), nullable=True),
        sa.Column("quarantine_owner", sa.Text(), nullable=True),
        sa.Column("quarantine_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("filtered_rule", sa.Text(), nullable=True),
        sa.Column("first_dirty_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("lane", "key", name="pk_sync_record"),
    )
    op.create_index(
        "ix_sync_record_due",
        "sync_record",
        ["lane", "next_attempt_at"],
        unique=False,
        sqlite_where=sa.text(DUE),
        postgresql_where=sa.text(DUE),
    )
    op.create_index(
        "ix_sync_record_lease",
        "sync_record",
        ["lease_token"],
        unique=False,
        sqlite_where=sa.text("lease_token IS NOT NULL"),
        postgresql_where=sa.text("lease_token IS NOT NULL"),
    )
    op.create_table(
        "person_link",
        sa.Column("company", sa.Text(), nullable=False),
        sa.Column("customer_code", sa.Text(), nullable=False),
        sa.Column("person_key", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("linked_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["person_key"], ["person.person_key"], name="fk_person_link_person_key"),
        sa.PrimaryKeyConstraint("company", "customer_code", name="pk_person_link"),
    )
    op.create_index("ix_person_link_person_key", "person_link", ["person_key"], unique=False)
