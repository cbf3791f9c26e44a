"""The canonical contract: what a site's Prima must be able to tell us, in one place.

No public Prima read interface for customers, orders or returns is known and every site differs, so these names are
**ours**: the site file maps a real site onto them, or a DBA creates views with these names. The pandera schemas, the
warehouse's column types, `docs/prima-contract.md` and `docs/prima-views.sql` are all made from what stands here.

Here belong entities, columns, types, units and what must hold within one row. Reading (`prima/`), rules about several
rows (`rules/`) and a site's own names (`site.py`) do not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import pyarrow as pa


class Type(StrEnum):
    """How a column's text is read. Everything arrives as text or as the database's own type, and leaves as this."""

    CODE = "code"  # an identifier: text for ever, leading zeros live, surrounding blanks are padding
    TEXT = "text"
    WORD = "word"  # one of a short list, after the site file's mapping
    MONEY = "money"  # decimal(18,4) in the row's currency
    RATE = "rate"  # decimal(18,8)
    INTEGER = "integer"
    DATE = "date"
    TIMESTAMP = "timestamp"  # an instant, kept in UTC; its calendar day at the site stands beside it, as <name>_on
    FLAG = "flag"  # yes, no or unknown: three states

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type of a typed page, and so the mirror's column type."""
        return _ARROW[self]


_ARROW: dict[Type, pa.DataType] = {
    Type.CODE: pa.string(),
    Type.TEXT: pa.string(),
    Type.WORD: pa.string(),
    Type.MONEY: pa.decimal128(18, 4),
    Type.RATE: pa.decimal128(18, 8),
    Type.INTEGER: pa.int64(),
    Type.DATE: pa.date32(),
    Type.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    Type.FLAG: pa.bool_(),
}


@dataclass(frozen=True)
class Column:
    """One column. `required`: null breaks the row. `vital`: an unreadable value breaks the row, else only the field.

    `personal` values are masked wherever people other than the record's owner could see them. `least` bounds a number
    from below. `words` lists what a WORD column may hold.
    """

    name: str
    type: Type
    meaning: str
    unit: str = ""
    required: bool = False
    vital: bool = False
    personal: bool = False
    least: int | None = None
    words: tuple[str, ...] = ()

    @property
    def day(self) -> str:
        """Name of the calendar-day column that stands beside a timestamp."""
        return day_of(self.name)


def day_of(name: str) -> str:
    """`ordered_at` → `ordered_on`: the site's calendar day of a timestamp column."""
    return name.removesuffix("_at") + "_on"


@dataclass(frozen=True)
class Entity:
    """One table of the contract. `key` identifies a row for ever; `subject` groups entities into Dagster assets.

    `derived`: no table of a site's Prima holds it, unless the site file names one. The web service answers it, or a
    rule makes it of other entities.
    """

    name: str
    subject: str
    meaning: str
    key: tuple[str, ...]
    columns: tuple[Column, ...] = field(repr=False)
    derived: bool = False

    @cached_property
    def column(self) -> dict[str, Column]:
        """Columns by name."""
        return {column.name: column for column in self.columns}

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """Schema of a typed page: the contract's columns, each timestamp followed by its calendar day."""
        fields: list[pa.Field] = []
        for column in self.columns:
            fields.append(pa.field(column.name, column.type.arrow))
            if column.type is Type.TIMESTAMP:
                fields.append(pa.field(column.day, pa.date32()))
        return pa.schema(fields)


ORDER_STATUSES = ("held", "confirmed", "part despatched", "despatched", "invoiced", "cancelled")
LINE_STATUSES = ORDER_STATUSES
CREDIT_STATUSES = ("draft", "finalised", "cancelled")
CREDIT_TYPES = ("refund", "exchange", "goodwill")
ADDRESS_TYPES = ("invoice", "delivery")
PERIOD_STATUSES = ("open", "closed")


def _code(name: str, meaning: str, *, required: bool = False, personal: bool = False) -> Column:
    return Column(name, Type.CODE, meaning, required=required, vital=required, personal=personal)


def _text(name: str, meaning: str, *, personal: bool = False) -> Column:
    return Column(name, Type.TEXT, meaning, personal=personal)


def _money(name: str, meaning: str, unit: str, *, required: bool = True, least: int | None = None) -> Column:
    return Column(name, Type.MONEY, meaning, unit, required=required, vital=True, least=least)


def _count(name: str, meaning: str, *, required: bool = True, least: int | None = 0) -> Column:
    return Column(name, Type.INTEGER, meaning, "units", required=required, vital=True, least=least)


def _when(name: str, meaning: str, *, required: bool = False, vital: bool = True) -> Column:
    return Column(name, Type.TIMESTAMP, meaning, "UTC; naive source values are the site's local time", required, vital)


def _word(name: str, meaning: str, words: tuple[str, ...]) -> Column:
    return Column(name, Type.WORD, meaning, required=True, vital=True, words=words)


COMPANY = _code("company", "Company of the installation; every record belongs to one.", required=True)
CHANGED = _when("changed_at", "When the row was last written, if the site keeps it; drives incremental reading.")
_MATRIX = tuple(
    _code(f"matrix_{level}", f"Matrix code, level {level} (width fitting, size, colour …: the site knows which).")
    for level in range(1, 5)
)
_PRODUCT = _code("product", "Style code.", required=True)
_ORDER_CURRENCY = "order currency"


def _consent(channel: str, meaning: str) -> tuple[Column, Column]:
    return (
        Column(f"receive_{channel}", Type.FLAG, f"{meaning} Yes, no, or never asked (unknown).", vital=True),
        _when(f"receive_{channel}_at", f"When that answer ({channel}) was last given, if known."),
    )


_ENTITIES = (
    Entity(
        "company",
        "customers",
        "A company of the installation.",
        ("company",),
        (
            COMPANY,
            _text("name", "Name."),
            Column("base_currency", Type.CODE, "Currency of the books, ISO 4217.", required=True, vital=True),
            _code("country", "ISO 3166 alpha-2."),
            CHANGED,
        ),
    ),
    Entity(
        "customer",
        "customers",
        "A customer account. A person may have many: a web order without an account code makes a new one.",
        ("company", "customer_code"),
        (
            COMPANY,
            _code("customer_code", "Account code; often ten digits with leading zeros.", required=True),
            _text("account_name", "Name of the account (a firm's name for trade).", personal=True),
            _text("title", "Mr, Mrs …", personal=True),
            _text("forename", "Given name.", personal=True),
            _text("surname", "Family name.", personal=True),
            _text("email", "E-mail as entered. Not unique.", personal=True),
            _text("phone", "Telephone.", personal=True),
            _text("mobile", "Mobile telephone.", personal=True),
            Column("date_of_birth", Type.DATE, "Date of birth.", personal=True),
            _text("gender", "As entered: M, F, Male, Female …", personal=True),
            _code("account_type", "The site's own type of account (retail, trade, staff …)."),
            _code("channel", "Sales channel in which the account was opened."),
            _code("currency", "Currency of the account, ISO 4217."),
            Column("is_trade", Type.FLAG, "Business-to-business account."),
            _when("opened_at", "When the account was opened.", vital=False),
            _when("erased_at", "When the person's erasure was carried out in Prima."),
            *_consent("email", "May be e-mailed."),
            *_consent("mail", "May be sent post."),
            *_consent("text", "May be sent text messages."),
            *_consent("phone", "May be telephoned."),
            *_consent("mobile", "May be called on the mobile."),
            Column("rent_details", Type.FLAG, "Details may be passed on to others (list rental).", vital=True),
            CHANGED,
        ),
    ),
    Entity(
        "customer_address",
        "customers",
        "A numbered address of an account; a trade account's offices are these.",
        ("company", "customer_code", "address_number"),
        (
            COMPANY,
            _code("customer_code", "Account.", required=True),
            _code("address_number", "Number of the address within the account.", required=True),
            _word("address_type", "What the address is for.", ADDRESS_TYPES),
            _text("addressee", "For the attention of.", personal=True),
            *(_text(f"line_{n}", f"Address line {n}.", personal=True) for n in range(1, 7)),
            _text("city", "Town or city, if the site keeps it apart from the lines.", personal=True),
            _code("postcode", "Postcode as entered.", personal=True),
            _code("country", "ISO 3166 alpha-2."),
            CHANGED,
        ),
    ),
    Entity(
        "customer_merge",
        "customers",
        "An account was merged into another. Undone merges keep their row.",
        ("company", "customer_code", "merged_at"),
        (
            COMPANY,
            _code("customer_code", "The account that gave way.", required=True),
            _code("merged_into_code", "The account that survives.", required=True),
            _when("merged_at", "When the accounts were merged.", required=True),
            _when("unmerged_at", "When the merge was undone."),
            CHANGED,
        ),
    ),
    Entity(
        "sales_order",
        "orders",
        "A sales order's header.",
        ("company", "order_number"),
        (
            COMPANY,
            _code("order_number", "Order number.", required=True),
            _code("customer_code", "Account that ordered.", required=True),
            _word("status", "Where the order stands, after the site's mapping.", ORDER_STATUSES),
            _code("order_type", "The site's type of order (web, mail order, staff …)."),
            _code("channel", "Sales channel."),
            _code("source_media", "What brought the order in (campaign code)."),
            Column("currency", Type.CODE, "Order currency, ISO 4217.", required=True, vital=True),
            Column(
                "exchange_rate",
                Type.RATE,
                "Base currency per unit of order currency on the order; 1 for the base currency.",
                "base currency per order currency",
                vital=True,
            ),
            Column("prices_include_vat", Type.FLAG, "Whether the order was priced with VAT."),
            _when("ordered_at", "When the order was placed.", required=True),
            _when("cancelled_at", "When the whole order was cancelled."),
            _code("invoice_address_number", "Invoice address of the account."),
            _code("delivery_address_number", "Delivery address of the account."),
            _text("order_email", "E-mail given with the order.", personal=True),
            _code("exchange_credit_number", "Credit note used as payment (exchange). It is tender, not revenue."),
            CHANGED,
        ),
    ),
    Entity(
        "sales_order_line",
        "orders",
        "One line of an order.",
        ("company", "order_number", "line_number"),
        (
            COMPANY,
            _code("order_number", "Order.", required=True),
            _code("line_number", "Line within the order.", required=True),
            _PRODUCT,
            *_MATRIX,
            _word("status", "Where the line stands, after the site's mapping.", LINE_STATUSES),
            _count("quantity", "Ordered."),
            _count("quantity_cancelled", "Cancelled out of the ordered quantity."),
            _count("quantity_despatched", "Despatched so far."),
            _money("value_incl_vat", "Value of the whole ordered quantity with VAT, after discount.", _ORDER_CURRENCY),
            _money("value_excl_vat", "The same without VAT.", _ORDER_CURRENCY),
            _money("discount_incl_vat", "Discount already taken off.", _ORDER_CURRENCY, required=False),
            _code("promotion", "Promotion code."),
            _code("warehouse", "Warehouse that serves the line."),
            Column("due_on", Type.DATE, "Promised day."),
            _when("cancelled_at", "When quantity was last cancelled."),
            CHANGED,
        ),
    ),
    Entity(
        "order_charge",
        "orders",
        "A charge on an order: carriage, gift wrap. A charge is not a line.",
        ("company", "order_number", "charge_number"),
        (
            COMPANY,
            _code("order_number", "Order.", required=True),
            _code("charge_number", "Number of the charge within the order.", required=True),
            _code("charge_code", "The site's code of the charge.", required=True),
            _money("value_incl_vat", "Value with VAT.", _ORDER_CURRENCY),
            _money("value_excl_vat", "Value without VAT.", _ORDER_CURRENCY),
            CHANGED,
        ),
    ),
    Entity(
        "despatch",
        "orders",
        "Goods of one order line left the warehouse.",
        ("company", "despatch_number", "line_number"),
        (
            COMPANY,
            _code("despatch_number", "Despatch note.", required=True),
            _code("line_number", "Line within the despatch note.", required=True),
            _code("order_number", "Order.", required=True),
            _code("order_line_number", "Order line.", required=True),
            _count("quantity", "Despatched with this note."),
            _when("despatched_at", "When the goods left.", required=True),
            _code("carrier", "Carrier."),
            _code("tracking_reference", "Carrier's reference.", personal=True),
            CHANGED,
        ),
    ),
    Entity(
        "customer_return",
        "returns",
        "Goods that came back and were receipted, before any credit. One row for each order line returned.",
        ("company", "return_number", "line_number"),
        (
            COMPANY,
            _code("return_number", "Return.", required=True),
            _code("line_number", "Line within the return.", required=True),
            _code("order_number", "Order that the goods were bought with.", required=True),
            _code("order_line_number", "Its line.", required=True),
            _count("quantity", "Came back."),
            _when("receipted_at", "When the goods were physically receipted.", required=True),
            _code("reason", "The site's reason code."),
            _code("warehouse", "Where they were receipted."),
            CHANGED,
        ),
    ),
    Entity(
        "credit_note",
        "returns",
        "A credit note's header.",
        ("company", "credit_number"),
        (
            COMPANY,
            _code("credit_number", "Credit note.", required=True),
            _code("customer_code", "Account credited.", required=True),
            _code("order_number", "Order it refers to, where known."),
            _word("credit_type", "Money back, exchange or goodwill.", CREDIT_TYPES),
            _word("status", "Only finalised credit notes count.", CREDIT_STATUSES),
            Column("currency", Type.CODE, "Currency, ISO 4217.", required=True, vital=True),
            Column("exchange_rate", Type.RATE, "As on the order.", "base currency per credit currency", vital=True),
            _when("raised_at", "When it was raised."),
            _when("finalised_at", "When it was finalised: the date finance counts it."),
            _code("reason", "The site's reason code."),
            CHANGED,
        ),
    ),
    Entity(
        "credit_note_line",
        "returns",
        "One line of a credit note: goods, or a charge refunded, or goodwill.",
        ("company", "credit_number", "line_number"),
        (
            COMPANY,
            _code("credit_number", "Credit note.", required=True),
            _code("line_number", "Line within it.", required=True),
            _code("order_number", "Order, where known."),
            _code("order_line_number", "Original order line, where known; empty for a charge or goodwill."),
            _code("return_number", "Return that led to it, where known."),
            _code("charge_code", "Charge refunded, if it is not goods."),
            _code("product", "Style credited, where it is goods."),
            *_MATRIX,
            _count("quantity", "Credited; 0 for money only."),
            _money("value_incl_vat", "Credited with VAT, as a positive amount.", "credit currency", least=0),
            _money("value_excl_vat", "The same without VAT.", "credit currency", least=0),
            CHANGED,
        ),
    ),
    Entity(
        "product",
        "products",
        "A style.",
        ("company", "product"),
        (
            COMPANY,
            _PRODUCT,
            _text("title", "Name as a shopper reads it."),
            _text("description", "Description."),
            _code("brand", "Brand."),
            _text("category", "Category path, levels separated by '>'."),
            _code("season", "Season."),
            _text("link", "Address of the product's page."),
            _text("image", "Address of its picture."),
            Column("is_merchandise", Type.FLAG, "False for carriage, vouchers, samples and other codes."),
            CHANGED,
        ),
    ),
    Entity(
        "sku",
        "products",
        "A style in one combination of its matrix: what is stocked and sold.",
        ("company", "product", "matrix_1", "matrix_2", "matrix_3", "matrix_4"),
        (
            COMPANY,
            _PRODUCT,
            *_MATRIX,
            _code("barcode", "EAN or UPC."),
            _text("colour", "Colour in words."),
            _text("size", "Size in words."),
            _text("width", "Width fitting in words."),
            Column("is_discontinued", Type.FLAG, "No longer sold."),
            CHANGED,
        ),
    ),
    Entity(
        "warehouse",
        "stock",
        "A place that holds stock.",
        ("company", "warehouse"),
        (
            COMPANY,
            _code("warehouse", "Warehouse code.", required=True),
            _text("name", "Name."),
            Column("is_sellable", Type.FLAG, "Its stock may be sold to shoppers."),
            CHANGED,
        ),
    ),
    Entity(
        "stock",
        "stock",
        "Stock of one SKU in one warehouse.",
        ("company", "warehouse", "product", "matrix_1", "matrix_2", "matrix_3", "matrix_4"),
        (
            COMPANY,
            _code("warehouse", "Warehouse.", required=True),
            _PRODUCT,
            *_MATRIX,
            _count("physical", "On the shelf.", least=None),
            _count("allocated", "Promised to orders.", least=None),
            _count("held", "Blocked (quality, reserve).", least=None),
            _count("buffer", "Kept back from sale in this warehouse, if the site does so.", required=False),
            Column("expected_on", Type.DATE, "Day on which more is expected; may lie in the past or be a placeholder."),
            CHANGED,
        ),
    ),
    Entity(
        "available_stock",
        "stock",
        "What can be sold of one SKU, over all sellable warehouses. Prima's web service answers exactly this and no "
        "more; of `stock` and `warehouse` it follows by the rule of available to sell.",
        ("company", "product", "matrix_1", "matrix_2", "matrix_3", "matrix_4"),
        (
            COMPANY,
            _PRODUCT,
            *_MATRIX,
            _count("available", "Available to sell. Below 0 counts as 0.", least=None),
            Column(
                "expected_on",
                Type.DATE,
                "Day on which more is expected, told only while nothing is available; may lie in the past or be a "
                "placeholder.",
            ),
            CHANGED,
        ),
        derived=True,
    ),
    Entity(
        "price",
        "products",
        "A price of a style or SKU in a price list, from a day on.",
        ("company", "price_list", "product", "matrix_1", "matrix_2", "matrix_3", "matrix_4", "valid_from"),
        (
            COMPANY,
            _code("price_list", "Price list.", required=True),
            _PRODUCT,
            *_MATRIX,
            Column("valid_from", Type.DATE, "First day.", required=True, vital=True),
            _code("currency", "ISO 4217.", required=True),
            _money("price_incl_vat", "Selling price with VAT.", "list currency", least=0),
            _money("full_price_incl_vat", "Price before any reduction.", "list currency", required=False, least=0),
            CHANGED,
        ),
    ),
    Entity(
        "accounting_period",
        "orders",
        "A period of the books.",
        ("company", "period"),
        (
            COMPANY,
            _code("period", "Period, such as 2026-10.", required=True),
            Column("starts_on", Type.DATE, "First day.", required=True, vital=True),
            Column("ends_on", Type.DATE, "Last day.", required=True, vital=True),
            _word("status", "Closed periods no longer change.", PERIOD_STATUSES),
            _when("closed_at", "When finance closed it."),
            CHANGED,
        ),
    ),
)

ENTITIES: dict[str, Entity] = {entity.name: entity for entity in _ENTITIES}

TABLES: dict[str, Entity] = {entity.name: entity for entity in _ENTITIES if not entity.derived}
"""The entities that stand as tables in a site's Prima."""


def entities_of(subject: str) -> list[Entity]:
    """Entities read together as one asset, such as `prima/orders`."""
    return [entity for entity in _ENTITIES if entity.subject == subject]
