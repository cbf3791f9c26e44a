"""The outbox of order events, the cursors of those who fill it, and the keyed hash of an account's e-mail.

Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

MOMENT = sa.DateTime(timezone=True)
MAYBE = ("contact_acked_at", "first_sent_at", "accepted_at", "waiting_since", "finished_at")


def upgrade() -> None:
    """Add the outbox and its cursors."""
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("aggregate", sa.Text(), nullable=False),
        sa.Column("depends_on", sa.Text(), nullable=True),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_token", sa.Text(), nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("lease_losses", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("disputes", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", MOMENT, nullable=False),
        sa.Column("doubtful_since", MOMENT, nullable=True),
        *(sa.Column(name, MOMENT, nullable=False) for name in ("dated_at", "happened_at", "seen_at", "queued_at")),
        *(sa.Column(name, MOMENT, nullable=True) for name in MAYBE),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.UniqueConstraint("event_id", name="uq_outbox_event_id"),
    )
    _partial_index("ix_outbox_due", ["kind", "next_attempt_at"], "state = 'pending'")
    _partial_index("ix_outbox_lease", ["lease_token"], "lease_token IS NOT NULL")
    op.create_index("ix_outbox_aggregate", "outbox", ["aggregate", "dated_at"], unique=False)
    op.create_index("ix_outbox_accepted_at", "outbox", ["accepted_at"], unique=False)
    op.create_table(
        "source_cursor",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("mark", sa.Text(), nullable=False),
        sa.Column("moved_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_source_cursor"),
    )
    op.add_column("person_link", sa.Column("email_hash", sa.Text(), nullable=True))
    op.create_index("ix_person_link_email_hash", "person_link", ["email_hash"], unique=False)


def _partial_index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "outbox", columns, unique=False, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
