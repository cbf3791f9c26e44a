"""The tables of the ledger: every column's meaning, every table's retention rule.

Only tables belong here. What moves rows between states is in `ledger` and `lanes`; the steps from an older ledger to
this shape are in `migrations`. All times are timezone-aware UTC. The tables hold keyed hashes and business keys;
personal data stands only in `sync_record.payload` and `outbox.payload`, and only until Emarsys has acknowledged it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


class Utc(TypeDecorator[datetime]):
    """A moment: timezone-aware in Python, `timestamptz` in PostgreSQL, UTC text in SQLite (which knows no zones)."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("the ledger takes timezone-aware moments only")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class DecimalText(TypeDecorator[Decimal]):
    """Money as decimal text, since SQLite would keep a number as a float."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else format(value, "f")

    def process_result_value(self, value: str | None, dialect: Dialect) -> Decimal | None:  # noqa: ARG002
        return None if value is None else Decimal(value)


class Minor(TypeDecorator[Decimal]):
    """Money as a whole number of its `digits`-th decimal place: exact in every database, and summed by it."""

    impl = sa.BigInteger
    cache_ok = True

    def __init__(self, digits: int) -> None:
        super().__init__()
        self.digits = digits

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        if value is None:
            return None
        number = value.scaleb(self.digits)
        if number != number.to_integral_value():
            raise ValueError(f"{value} has more than {self.digits} decimal places")
        return int(number)

    def process_result_value(self, value: int | Decimal | None, dialect: Dialect) -> Decimal | None:  # noqa: ARG002
        return None if value is None else Decimal(int(value)).scaleb(-self.digits)


@dataclass(frozen=True)
class Retention:
    """How long a table's rows are kept. `days=None` keeps them for ever, for the reason in `why`."""

    why: str
    days: int | None = None
    since: str | None = None
    """The column whose age counts; a row where it is null is kept."""

    @property
    def bounded(self) -> bool:
        """Whether rows are removed by age."""
        return self.days is not None


def _kept(retention: Retention) -> dict[str, Any]:
    return {"retention": retention}


def retention_of(table: sa.Table) -> Retention:
    """The rule under which the rows of `table` are kept."""
    return table.info["retention"]


metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

sync_record = sa.Table(
    "sync_record",
    metadata,
    sa.Column("lane", sa.Text, primary_key=True, doc="The lane that carries the record, for example `contacts`."),
    sa.Column("key", sa.Text, primary_key=True, doc="The record's key in Emarsys: a business key, no personal data."),
    sa.Column("desired_hash", sa.Text, doc="Keyed hash of what Emarsys should hold. Null: only ever filtered."),
    sa.Column("mapping_version", sa.Text, doc="The mapping that made the desired values; it is part of the hash."),
    sa.Column("payload", sa.LargeBinary, doc="The JSON object to send. Dropped at acknowledgement."),
    sa.Column("acked_hash", sa.Text, doc="Hash of what Emarsys acknowledged. A claim wipes it."),
    sa.Column("acked_at", Utc, doc="When Emarsys acknowledged it."),
    sa.Column("inflight_hash", sa.Text, doc="Hash of what the holder of the lease is sending."),
    sa.Column("lease_token", sa.Text, doc="The claim that holds the record. Null: nobody."),
    sa.Column("lease_until", Utc, doc="When the claim ends by itself."),
    sa.Column("lease_losses", sa.Integer, nullable=False, doc="Leases that ended without an answer."),
    sa.Column("attempts", sa.Integer, nullable=False, doc="Calls that failed since the last acknowledgement."),
    sa.Column(
        "disputes",
        sa.Integer,
        nullable=False,
        doc="Answers that cannot stand (a race, a read-back that differs) since the last acknowledgement.",
    ),
    sa.Column("next_attempt_at", Utc, nullable=False, doc="The record is not sent before this."),
    sa.Column(
        "in_doubt_until",
        Utc,
        doc="Set: the outcome of the last call is unknown, and the next answer must be read back.",
    ),
    sa.Column(
        "may_have_reached",
        sa.Boolean,
        nullable=False,
        doc="Emarsys holds, or may hold, a payload other than the last settled one.",
    ),
    sa.Column("quarantine_code", sa.Text, doc="Why the record waits for a person: an Emarsys reply code, or ours."),
    sa.Column("quarantine_text", sa.Text, doc="Emarsys's words, the value masked."),
    sa.Column("quarantine_owner", sa.Text, doc="Who must act: finance, marketing, customer-service or data."),
    sa.Column("quarantine_since", Utc, doc="When the record was set aside."),
    sa.Column("filtered_rule", sa.Text, doc="The rule by which the record is not sent at all."),
    sa.Column("first_dirty_at", Utc, doc="Since when Emarsys has been behind; its age drives the alerts."),
    sa.Index(
        "ix_sync_record_due",
        "lane",
        "next_attempt_at",
        sqlite_where=sa.text(
            "payload IS NOT NULL AND lease_token IS NULL AND quarantine_code IS NULL AND filtered_rule IS NULL"
        ),
        postgresql_where=sa.text(
            "payload IS NOT NULL AND lease_token IS NULL AND quarantine_code IS NULL AND filtered_rule IS NULL"
        ),
    ),
    sa.Index(
        "ix_sync_record_lease",
        "lease_token",
        sqlite_where=sa.text("lease_token IS NOT NULL"),
        postgresql_where=sa.text("lease_token IS NOT NULL"),
    ),
    info=_kept(Retention("One row a record for as long as the record is known: the latest state, no history.")),
)
"""One row a record of a lane: what it should be, what was acknowledged, what is on its way."""

lane = sa.Table(
    "lane",
    metadata,
    sa.Column("lane", sa.Text, primary_key=True, doc="The lane's name."),
    sa.Column("dispatcher", sa.Text, doc="The process that may send on this lane."),
    sa.Column("dispatcher_token", sa.Text, doc="Its token."),
    sa.Column("dispatcher_until", Utc, doc="When its right to send ends unless renewed."),
    sa.Column("stopped_at", Utc, doc="Set: nothing goes until a probe succeeds or a person resumes the lane."),
    sa.Column("stop_reason", sa.Text, doc="Why the lane stands still."),
    sa.Column("stop_remedy", sa.Text, doc="What a person does about it."),
    sa.Column("paused_until", Utc, doc="Emarsys asked us to wait until then."),
    sa.Column(
        "breaker_window",
        sa.Text,
        nullable=False,
        doc="The last calls, oldest first: `x` failed, `.` answered. Empty: nothing failed lately.",
    ),
    sa.Column("breaker_open_until", Utc, doc="Set: the endpoint failed; after this, one small batch probes it."),
    sa.Column("breaker_open_seconds", sa.Integer, nullable=False, doc="How long the breaker was opened last."),
    sa.Column("held_plan", sa.Text, doc="The counts of the plan that the volume guard holds."),
    sa.Column("held_reason", sa.Text, doc="Why it holds the plan."),
    sa.Column("released_plan", sa.Text, doc="The counts of the plan that a person released, until it is used."),
    info=_kept(Retention("One row a lane.")),
)
"""One row a lane: who may send on it, and why it may be standing still."""

person = sa.Table(
    "person",
    metadata,
    sa.Column("person_key", sa.Text, primary_key=True, doc="Our key: stable for ever, never used again."),
    sa.Column("founding_company", sa.Text, nullable=False, doc="Company of the account that the person began with."),
    sa.Column("founding_code", sa.Text, nullable=False, doc="Customer code of that account."),
    sa.Column("created_at", Utc, nullable=False, doc="When the key was given."),
    sa.Column("merged_into", sa.Text, sa.ForeignKey("person.person_key"), doc="The surviving person after a merge."),
    sa.UniqueConstraint("founding_company", "founding_code"),
    info=_kept(Retention("For ever: a key that was forgotten could be given to somebody else.")),
)
"""One row a person: the set of accounts that belong to one human being or one mailbox."""

person_link = sa.Table(
    "person_link",
    metadata,
    sa.Column("company", sa.Text, primary_key=True, doc="Company of the account."),
    sa.Column("customer_code", sa.Text, primary_key=True, doc="Customer code of the account."),
    sa.Column(
        "person_key",
        sa.Text,
        sa.ForeignKey("person.person_key"),
        nullable=False,
        index=True,
        doc="The person it belongs to.",
    ),
    sa.Column("reason", sa.Text, nullable=False, doc="Why: founded, same e-mail, merged …"),
    sa.Column("linked_at", Utc, nullable=False, doc="Since when."),
    sa.Column(
        "email_hash",
        sa.Text,
        index=True,
        doc="Keyed hash of the account's normalised e-mail: whom another account with that address belongs to.",
    ),
    info=_kept(Retention("As long as the person: later orders follow it.")),
)
"""One row an account of Prima: the person to whom it belongs, and why."""

exception = sa.Table(
    "exception",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, doc="The number that people quote."),
    sa.Column("scope", sa.Text, nullable=False, doc="The check that finds it, and closes what it finds no more."),
    sa.Column("kind", sa.Text, nullable=False, doc="One of the catalogue of kinds."),
    sa.Column("record", sa.Text, nullable=False, doc="Business key of the record."),
    sa.Column("owner", sa.Text, nullable=False, doc="Who must act."),
    sa.Column("severity", sa.Text, nullable=False, doc="`error` or `warning`."),
    sa.Column("detail", sa.Text, nullable=False, doc="What is wrong, masked."),
    sa.Column("money", DecimalText, doc="Money at stake."),
    sa.Column("currency", sa.Text, doc="Its currency."),
    sa.Column("first_seen", Utc, nullable=False, doc="When this episode began."),
    sa.Column("last_seen", Utc, nullable=False, doc="When it was last found true."),
    sa.Column("times_seen", sa.Integer, nullable=False, doc="How often it was found true."),
    sa.Column("state", sa.Text, nullable=False, doc="`open`, `acknowledged`, `accepted` or `resolved`."),
    sa.Column("assigned", sa.Boolean, nullable=False, doc="Whether a person chose the owner, who then stays."),
    sa.Column("resolved_at", Utc, doc="When it was no longer true, or a person closed it."),
    sa.Index(
        "ix_exception_current",
        "scope",
        "kind",
        "record",
        unique=True,
        sqlite_where=sa.text("resolved_at IS NULL"),
        postgresql_where=sa.text("resolved_at IS NULL"),
    ),
    info=_kept(Retention("Resolved ones serve the yearly review.", days=400, since="resolved_at")),
)
"""One row an episode of a record that needs a person."""

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", Utc, nullable=False, index=True, doc="When."),
    sa.Column("who", sa.Text, nullable=False, doc="The person, or the part of the product, that did it."),
    sa.Column("what", sa.Text, nullable=False, doc="The act, for example `release`."),
    sa.Column("subject", sa.Text, nullable=False, doc="What it was done to."),
    sa.Column("detail", sa.Text, nullable=False, doc="The note, and the counts."),
    sa.Column("previous", sa.Text, nullable=False, doc="The `mac` of the entry before; empty in the first."),
    sa.Column("mac", sa.Text, nullable=False, doc="Keyed hash of this entry and of `previous`."),
    info=_kept(Retention("Seven years, as long as the books that it explains.", days=2557, since="at")),
)
"""One row an act by a person that changed what is sent."""

delivery_call = sa.Table(
    "delivery_call",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("started_at", Utc, nullable=False, index=True, doc="When the call began."),
    sa.Column("ended_at", Utc, nullable=False, doc="When its outcome was known."),
    sa.Column("records", sa.Integer, nullable=False, doc="Records in the batch."),
    sa.Column("outcome", sa.Text, nullable=False, doc="The name of the outcome."),
    sa.Column("acknowledged", sa.Integer, nullable=False, doc="Records acknowledged by it."),
    sa.Column("refused", sa.Integer, nullable=False, doc="Records refused in it."),
    sa.Column("detail", sa.Text, nullable=False, doc="The reason, where the call did not go well."),
    info=_kept(Retention("Enough to explain last month.", days=30, since="started_at")),
)
"""One row a call to Emarsys on a lane."""

sales_file = sa.Table(
    "sales_file",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, doc="Files go to Emarsys in this order."),
    sa.Column("name", sa.Text, nullable=False, unique=True, doc="The name that people quote."),
    sa.Column("sink", sa.Text, nullable=False, doc="The way it goes: `http` or `files`."),
    sa.Column("sha256", sa.Text, nullable=False, doc="Of the CSV. Empty where the ledger never had it."),
    sa.Column("rows", sa.Integer, nullable=False, doc="Its lines."),
    sa.Column("value", Minor(2), nullable=False, doc="Sum of its lines' prices."),
    sa.Column("currency", sa.Text, nullable=False, doc="Currency of the prices: the Emarsys account's."),
    sa.Column("content", sa.LargeBinary, doc="The CSV, by gzip. Dropped once the file's fate is known."),
    sa.Column(
        "state",
        sa.Text,
        nullable=False,
        doc="`sealed`, `sending`, `accepted`, `refused`, `unknown` or `absent` (a person said that it is not there).",
    ),
    sa.Column("token", sa.Text, doc="Who is sending it."),
    sa.Column("attempts", sa.Integer, nullable=False, doc="How often sending it began."),
    sa.Column("sealed_at", Utc, nullable=False, doc="When its content was fixed."),
    sa.Column("sent_at", Utc, doc="When sending it last began."),
    sa.Column("settled_at", Utc, doc="When it was accepted, refused, lost sight of, or resolved."),
    sa.Column("reason", sa.Text, doc="Why it is refused, unknown, or still waiting."),
    sa.Column("resolution", sa.Text, doc="What a person said of an unknown or refused file: `arrived` or `absent`."),
    sa.Column("resolved_by", sa.Text, doc="Who said so."),
    sa.Column("resolved_at", Utc, doc="When."),
    sa.Column("note", sa.Text, doc="And why."),
    sa.Index("ix_sales_file_state", "state"),
    info=_kept(Retention("For ever, with its lines. The content goes once the file's fate is known.")),
)
"""One row a sealed file of sales data: immutable in what it says, moved only from state to state."""

sales_line = sa.Table(
    "sales_line",
    metadata,
    sa.Column("line_key", sa.Text, primary_key=True, doc="The row of the signed ledger that it speaks of."),
    sa.Column("version", sa.Integer, primary_key=True, doc="1, and one more for each later word on that row."),
    sa.Column("file_id", sa.Integer, sa.ForeignKey("sales_file.id"), nullable=False, index=True, doc="Its file."),
    sa.Column("order_id", sa.Text, nullable=False, doc="The order's id in Emarsys."),
    sa.Column("item", sa.Text, nullable=False, doc="SKU, or the name of a charge."),
    sa.Column("customer", sa.Text, nullable=False, doc="Person key under which it was sent."),
    sa.Column("company", sa.Text, nullable=False, doc="Company of the order."),
    sa.Column("channel", sa.Text, nullable=False, doc="Channel of the order."),
    sa.Column("kind", sa.Text, nullable=False, doc="sale, cancellation, return, credit or adjustment."),
    sa.Column("price", Minor(2), nullable=False, doc="What Emarsys adds to its turnover, signed."),
    sa.Column("quantity", sa.Integer, nullable=False, doc="Units, signed."),
    sa.Column("gross", Minor(2), nullable=False, doc="With VAT, in the account's currency."),
    sa.Column("net", Minor(2), nullable=False, doc="Without VAT, in the account's currency."),
    sa.Column("discount", Minor(2), nullable=False, doc="Discount with VAT, in the account's currency."),
    sa.Column("currency", sa.Text, nullable=False, doc="The order's own currency."),
    sa.Column("order_value", Minor(4), nullable=False, doc="With VAT, in the order's own currency."),
    sa.Column("happened_at", Utc, nullable=False, doc="The line's timestamp in Emarsys."),
    sa.Column("ordered_on", sa.Date, nullable=False, doc="Day of the order at the site."),
    sa.Column("posted_on", sa.Date, nullable=False, doc="Day at the site on which it happened."),
    info=_kept(Retention("For ever: a line that was forgotten would be sent again, and counted twice.")),
)
"""One row a line of a sealed file. A version of a line belongs to one file for ever; what Emarsys holds of a line is
the sum of its versions in accepted files."""

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, doc="In the order in which the facts were written down."),
    sa.Column("event_id", sa.Text, nullable=False, unique=True, doc="Of the fact, for ever; Emarsys's `trigger_id`."),
    sa.Column("kind", sa.Text, nullable=False, doc="What happened: one of the kinds of order events."),
    sa.Column("document", sa.Text, nullable=False, doc="The record of Prima that shows it, as `entity|company|code`."),
    sa.Column("version", sa.Text, nullable=False, doc="Digest of what that record says."),
    sa.Column("aggregate", sa.Text, nullable=False, doc="The order; its events go one after the other."),
    sa.Column("depends_on", sa.Text, doc="Key of the contact that must be acknowledged first. Null: not known yet."),
    sa.Column("payload", sa.LargeBinary, doc="What a template reads, as JSON. Dropped when nothing more happens."),
    sa.Column(
        "state",
        sa.Text,
        nullable=False,
        doc="pending, sending, sent, held, quarantined, withheld or cancelled.",
    ),
    sa.Column("code", sa.Text, doc="Why it is not sent: a reply code of Emarsys, or a word of ours."),
    sa.Column("cause", sa.Text, doc="The same for a person, masked."),
    sa.Column("owner", sa.Text, doc="Who decides, or is told. Null while it goes its way."),
    sa.Column("lease_token", sa.Text, doc="The claim that is sending it. Null: nobody."),
    sa.Column("lease_until", Utc, doc="When the claim ends by itself."),
    sa.Column("lease_losses", sa.Integer, nullable=False, doc="Leases that ended without an answer."),
    sa.Column("attempts", sa.Integer, nullable=False, doc="Calls that did not answer for it."),
    sa.Column("disputes", sa.Integer, nullable=False, doc="Refusals that a repeat was to cure."),
    sa.Column("next_attempt_at", Utc, nullable=False, doc="It is not sent before this."),
    sa.Column("doubtful_since", Utc, doc="Since when it may have been taken without our knowing."),
    sa.Column("dated_at", Utc, nullable=False, doc="When it happened, by the document's own date."),
    sa.Column("happened_at", Utc, nullable=False, doc="When Prima wrote the rows that show it."),
    sa.Column("seen_at", Utc, nullable=False, doc="When we read them."),
    sa.Column("queued_at", Utc, nullable=False, doc="When it was written down here."),
    sa.Column(
        "contact_acked_at", Utc, doc="The acknowledgement of its contact, as it stood when the event first went."
    ),
    sa.Column("first_sent_at", Utc, doc="When it was first on its way."),
    sa.Column("accepted_at", Utc, doc="When Emarsys accepted it."),
    sa.Column("waiting_since", Utc, doc="Since when it waits for a person: held or quarantined."),
    sa.Column("finished_at", Utc, doc="Since when nothing more happens to it: sent, withheld or cancelled."),
    sa.Index(
        "ix_outbox_due",
        "kind",
        "next_attempt_at",
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    ),
    sa.Index("ix_outbox_aggregate", "aggregate", "dated_at"),
    sa.Index("ix_outbox_accepted_at", "accepted_at"),
    sa.Index(
        "ix_outbox_lease",
        "lease_token",
        sqlite_where=sa.text("lease_token IS NOT NULL"),
        postgresql_where=sa.text("lease_token IS NOT NULL"),
    ),
    info=_kept(
        Retention(
            "Long after a re-read could bring the fact up again (30 days), so that an id stays used; a season to look "
            "back on for latency. What waits is kept.",
            days=100,
            since="finished_at",
        )
    ),
)
"""One row a fact about an order that Emarsys is to hear of, and what became of it."""

source_cursor = sa.Table(
    "source_cursor",
    metadata,
    sa.Column("name", sa.Text, primary_key=True, doc="Who reads what, for example `events/sales_order`."),
    sa.Column("mark", sa.Text, nullable=False, doc="How far it was read."),
    sa.Column("moved_at", Utc, nullable=False, doc="When that was written down."),
    info=_kept(Retention("One row a reader and entity.")),
)
"""How far Prima was read by those who write what they read into the ledger."""

closed_period = sa.Table(
    "closed_period",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("company", sa.Text, nullable=False, doc="Company of the books."),
    sa.Column("period", sa.Text, nullable=False, doc="Period, such as 2026-10."),
    sa.Column("clock", sa.Text, nullable=False, doc="`ordered` (marketing's) or `posted` (finance's)."),
    sa.Column("version", sa.Integer, nullable=False, doc="1, and one more each time that Prima closed it again."),
    sa.Column("starts_on", sa.Date, nullable=False, doc="First day."),
    sa.Column("ends_on", sa.Date, nullable=False, doc="Last day."),
    sa.Column("closed_at", Utc, doc="When finance closed it in Prima, if Prima says so."),
    sa.Column("frozen_at", Utc, nullable=False, doc="When its figures were frozen here."),
    sa.Column("currency", sa.Text, nullable=False, doc="The company's base currency."),
    sa.Column("net", Minor(2), nullable=False, doc="Orders less refunds, with VAT, late adjustments included."),
    sa.Column("late", Minor(2), nullable=False, doc="What of it are late adjustments of earlier periods."),
    sa.Column("figures", sa.Text, nullable=False, doc="JSON: sums by period of origin, channel and order currency."),
    sa.Column("digest", sa.Text, nullable=False, doc="SHA-256 of the content."),
    sa.Column("content", sa.LargeBinary, nullable=False, doc="Its documents (CSV, by gzip): what the figures sum."),
    sa.Column("reopened_at", Utc, doc="Set: Prima opened the period again, and this version no longer counts."),
    sa.Column("signed_by", sa.Text, doc="Who signed the figures off."),
    sa.Column("signed_at", Utc, doc="When."),
    sa.Column("note", sa.Text, doc="What they said."),
    sa.UniqueConstraint("company", "period", "clock", "version"),
    info=_kept(Retention("Seven years, as the books themselves.", days=2557, since="frozen_at")),
)
"""One row an accounting period that Prima closed, on one clock: its figures as they were, and who signed them off."""

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    info=_kept(Retention("A handful of rows: ledger id, environment, check of the hash key, head of the audit log …")),
)
"""What the ledger knows of itself."""
