"""What Emarsys should know of goods: one item a SKU, every value as the text that stands in the file.

An item is named as sales data name it. Here is decided what an item says and which rule keeps one out; what changed
since the last file is the step's matter.
"""

# Ibis types a table's columns as their base class, so arithmetic on them cannot be checked statically.
# pyright: reportAttributeAccessIssue=false, reportOperatorIssue=false, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import ibis
import ibis.expr.types as ir

from prima_emarsys.rules.availability import SKU
from prima_emarsys.rules.sales import GOODS, sku_id
from prima_emarsys.rules.sales_data import item_of
from prima_emarsys.site import CatalogueData, SalesData

COLUMNS = (
    "item", "title", "link", "image", "category", "available", "description", "price", "msrp", "brand", "group_id",
    "c_stock", "c_expected_in", "c_size", "c_width", "c_colour", "c_season",
)  # fmt: skip
"""Columns of the file, in order. `available` is `true` or `false`; `c_stock` is a whole number of units;
`c_expected_in` is a day (ISO); prices have two decimals and are in the price list's currency, with VAT."""

OTHER_COMPANY, NO_PRODUCT, NO_MERCHANDISE, EXCLUDED_PRODUCT = (
    "other-company", "no-product", "no-merchandise", "excluded-product",
)  # fmt: skip
NO_TITLE, NO_LINK, NO_IMAGE, NO_PRICE, DIFFERS_BY_CASE = "no-title", "no-link", "no-image", "no-price", "case"
INCOMPLETE = (NO_TITLE, NO_LINK, NO_IMAGE, NO_PRICE)
"""Rules for which marketing can do something."""

_STYLE = ["company", "product"]
_LEVELS = SKU[2:]
_ADDRESS = r"^https?://[^ /]+(/[^ ]*)?$"


@dataclass(frozen=True)
class Goods:
    """What a catalogue is made of: products, SKUs and prices of the contract, and `core.availability`."""

    products: ir.Table
    skus: ir.Table
    prices: ir.Table
    available: ir.Table


def catalogue_items(
    goods: Goods, catalogue: CatalogueData, sales: SalesData, excluded_products: list[str], today: date
) -> ir.Table:
    """All items (`COLUMNS`), those that a rule keeps out among them: with SKU, `lacks` and `excluded`.

    `lacks` says of an item that is sent what is missing all the same (a picture); `excluded` names the first rule that
    keeps the item out, or is null. A SKU is what Prima lists as one, or keeps stock of.
    """
    listed = goods.skus.select(*SKU)
    known = listed.union(goods.available.select(*SKU), distinct=True)
    rows = _joined(known, goods, catalogue, today)
    item = item_of(rows.company, sku_id(rows), sales)
    other = ibis.literal(False) if not catalogue.companies else ~rows.company.isin(catalogue.companies)
    named = ibis.literal(False) if not excluded_products else rows.product.isin(excluded_products)
    no_image = rows.image == ""
    rules = [
        (other, OTHER_COMPANY),
        (rows.in_products.isnull(), NO_PRODUCT),
        (~rows.is_merchandise.fill_null(True), NO_MERCHANDISE),
        (named, EXCLUDED_PRODUCT),
        (rows.title == "", NO_TITLE),
        (rows.link == "", NO_LINK),
        *([(no_image, NO_IMAGE)] if catalogue.without_image == "exclude" else []),
        ((rows.price.fill_null(0) <= 0), NO_PRICE),
    ]
    return rows.select(
        *SKU,
        item=item,
        title=rows.title,
        link=rows.link,
        image=rows.image,
        category=rows.category,
        available=rows.is_available.fill_null(False).ifelse("true", "false"),
        description=rows.description,
        price=_price(rows.price),
        msrp=_price(ibis.coalesce(rows.full_price, rows.price)),
        brand=rows.brand,
        group_id=rows.product,
        c_stock=rows.units.fill_null(0).cast("string"),
        c_expected_in=rows.expected_on.cast("string").fill_null(""),
        c_size=_text(rows.size),
        c_width=_text(rows.width),
        c_colour=_text(rows.colour),
        c_season=rows.season,
        lacks=no_image.ifelse(NO_IMAGE, ibis.null("string")),
        excluded=ibis.cases(*rules, else_=ibis.null("string")),
    )


def colliding_items(items: ir.Table) -> ir.Table:
    """Items that would stand for several SKUs: item, skus, one of them (`company`, `product`)."""
    sent = items.filter(items.excluded.isnull())
    found = sent.group_by("item").agg(
        skus=ibis._.count(), company=ibis._.company.min(), other=ibis._.company.max(), product=ibis._.product.min()
    )
    return found.filter(found.skus > 1)


def twin_items(items: ir.Table) -> ir.Table:
    """Items that differ from another by capital letters only, which Emarsys may take for one. Columns: the SKU."""
    sent = items.filter(items.excluded.isnull()).select(*SKU, "item", folded=items.item.lower())
    folded = sent.group_by("folded").agg(first=sent.item.min(), last=sent.item.max())
    return sent.semi_join(folded.filter(folded.first != folded.last), "folded").select(*SKU)


def _joined(known: ir.Table, goods: Goods, catalogue: CatalogueData, today: date) -> ir.Table:
    """Each SKU with its product, its words, its price of the day and what can be sold of it."""
    products = _described(goods.products, catalogue)
    words = goods.skus.select(*SKU, "colour", "size", "width")
    can_be_sold = goods.available.select(*SKU, "is_available", "expected_on", units="available")
    own, style = _prices(goods.prices, catalogue, today)
    joined = known
    for table, key in ((products, _STYLE), (words, SKU), (can_be_sold, SKU), (own, SKU), (style, _STYLE)):
        added = [name for name in table.columns if name not in key]
        joined = joined.left_join(table, key).select(*joined.columns, *added)
    return joined.mutate(
        price=ibis.coalesce(joined.own_price, joined.style_price),
        full_price=joined.own_price.notnull().ifelse(joined.own_full, joined.style_full),
    )


def _described(products: ir.Table, catalogue: CatalogueData) -> ir.Table:
    """Each style in the file's words, made here because it has many SKUs. An address that is none is empty."""
    link = _text(products.link)
    if catalogue.link is not None:
        before, after = catalogue.link.split("{product}")
        link = (link == "").ifelse(ibis.literal(before) + products["product"].lower() + ibis.literal(after), link)
    image = _text(products.image)
    texts = {name: _text(products[name]) for name in ("title", "description", "brand", "season")}
    return products.select(
        *_STYLE,
        "is_merchandise",
        **texts,
        link=link.re_search(_ADDRESS).ifelse(link, ""),
        image=image.re_search(_ADDRESS).ifelse(image, ""),
        category=_category(products.category),
        in_products=ibis.literal(True),
    )


def _prices(prices: ir.Table, catalogue: CatalogueData, today: date) -> tuple[ir.Table, ir.Table]:
    """The price in force of each SKU that has its own, and of each style: the one that began last."""
    begun = prices.filter(prices.valid_from <= today)
    if catalogue.price_list is not None:
        begun = begun.filter(begun.price_list == catalogue.price_list)
    latest = ibis.row_number().over(ibis.window(group_by=SKU, order_by=ibis.desc("valid_from")))
    in_force = begun.mutate(place=latest).filter(ibis._.place == 0)
    of_style = ibis.and_(*(in_force[level] == "" for level in _LEVELS))
    own = in_force.filter(~of_style)
    style = in_force.filter(of_style)
    return (
        own.select(*SKU, own_price=own.price_incl_vat, own_full=own.full_price_incl_vat),
        style.select(*_STYLE, style_price=style.price_incl_vat, style_full=style.full_price_incl_vat),
    )


def _text(value: ir.StringValue) -> ir.StringValue:
    """A text on one line, without blanks around it; empty where there is none."""
    return value.fill_null("").re_replace(r"[\x00-\x20\x7f]+", " ").strip()


def _category(value: ir.StringValue) -> ir.StringValue:
    """Levels by `>`; a path with an empty level would have its row rejected, so it is left out."""
    path = _text(value)
    return path.re_search(r"(^|>) *(>|$)").ifelse("", path)


def _price(amount: ir.DecimalValue) -> ir.StringValue:
    return amount.cast("decimal(18,2)").cast("string").fill_null("")


def items_lacking(lines: ir.Table, ledger: ir.Table, items: ir.Table) -> ir.Table:
    """Items that sales data name and the catalogue lacks: item, lines. `lines` is `emarsys.sales_data`, `ledger` the
    signed ledger, which tells goods from charges; `items` is `emarsys.catalogue`."""
    goods = lines.filter(lines.excluded.isnull()).semi_join(
        ledger.filter(ledger.nature == GOODS), lines.line_key == ledger.sale_key
    )
    lacking = goods.anti_join(items.filter(items.excluded.isnull()), "item")
    return lacking.group_by("item").agg(lines=ibis._.count())
