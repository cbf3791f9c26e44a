"""What an item of the catalogue says, and what keeps one out, by examples on both engines."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa
import pytest

from prima_emarsys.rules.availability import SKU
from prima_emarsys.rules.catalogue import COLUMNS, Goods, catalogue_items, colliding_items, items_lacking, twin_items
from prima_emarsys.site import CatalogueData, SalesData
from prima_emarsys.warehouse import Warehouse
from prima_emarsys_tests.rules.tables import rows_of, table

TODAY = date(2026, 11, 20)
LEVELS = {"matrix_1": "F", "matrix_2": "075", "matrix_3": "", "matrix_4": ""}
STYLE_LEVELS = dict.fromkeys(LEVELS, "")
PRODUCT = {
    "title": "Boot  one\n",
    "link": "https://shop.example/boot",
    "image": "https://shop.example/boot.jpg",
    "category": "Shoes>Boots",
    "brand": "OWN",
    "season": "AW26",
    "description": "A boot.",
}
PRICE = STYLE_LEVELS | {
    "price_list": "RETAIL",
    "valid_from": date(2026, 1, 1),
    "price_incl_vat": "59.5",
    "full_price_incl_vat": "80",
}
SHOP = CatalogueData(price_list="RETAIL")


def items(
    warehouse: Warehouse,
    *,
    product: dict[str, Any] | None = None,
    skus: tuple[dict[str, Any], ...] = ({},),
    prices: tuple[dict[str, Any], ...] = ({},),
    stock: tuple[dict[str, Any], ...] = ({},),
    settings: CatalogueData = SHOP,
    sales: SalesData = SalesData(),  # noqa: B008 (frozen)
    excluded: tuple[str, ...] = (),
) -> ir.Table:
    """The items of one product, of which a test says only what matters to it."""
    columns = pa.schema(
        [*((name, pa.string()) for name in (*SKU, "sku")), ("available", pa.int64()), ("is_available", pa.bool_()),
         ("expected_on", pa.date32()), ("since", pa.timestamp("us", "UTC"))]
    )  # fmt: skip
    known = {"company": "1", "product": "BOOT", "sku": "", "since": datetime(2026, 1, 1, tzinfo=UTC)} | LEVELS
    rows = [known | {"available": 3, "is_available": True} | row for row in stock]
    goods = Goods(
        table(warehouse, "product", PRODUCT | (product or {})),
        table(warehouse, "sku", *(LEVELS | {"size": "7½", "width": "Standard", "colour": "Oak"} | sku for sku in skus)),
        table(warehouse, "price", *(PRICE | price for price in prices)),
        warehouse.settle(pa.Table.from_pylist(rows, columns)),
    )
    return warehouse.settle(catalogue_items(goods, settings, sales, list(excluded), TODAY))


def test_an_item_says_everything_that_prima_knows_as_text(warehouse: Warehouse) -> None:
    [row] = warehouse.read(items(warehouse).select(*COLUMNS)).to_pylist()
    assert row == {
        "item": "BOOT_F_075",
        "title": "Boot one",
        "link": "https://shop.example/boot",
        "image": "https://shop.example/boot.jpg",
        "category": "Shoes>Boots",
        "available": "true",
        "description": "A boot.",
        "price": "59.50",
        "msrp": "80.00",
        "brand": "OWN",
        "group_id": "BOOT",
        "c_stock": "3",
        "c_expected_in": "",
        "c_size": "7½",
        "c_width": "Standard",
        "c_colour": "Oak",
        "c_season": "AW26",
    }


def test_what_is_out_says_when_more_comes(warehouse: Warehouse) -> None:
    found = items(warehouse, stock=({"available": 0, "is_available": False, "expected_on": date(2026, 12, 1)},))
    assert rows_of(warehouse, found, "available", "c_stock", "c_expected_in") == [("false", "0", "2026-12-01")]


def test_a_sku_of_which_no_stock_is_kept_is_out(warehouse: Warehouse) -> None:
    assert rows_of(warehouse, items(warehouse, stock=()), "available", "c_stock", "excluded") == [("false", "0", None)]


PRICES: dict[str, tuple[tuple[dict[str, Any], ...], str, str]] = {
    "the one that began last": (({}, {"valid_from": date(2026, 11, 1), "price_incl_vat": "40"}), "40.00", "80.00"),
    "not one that is still to come": (({}, {"valid_from": date(2026, 12, 1), "price_incl_vat": "1"}), "59.50", "80.00"),
    "not another list's": (({}, {"price_list": "TRADE", "price_incl_vat": "30"}), "59.50", "80.00"),
    "the SKU's own": (({}, LEVELS | {"price_incl_vat": "61", "full_price_incl_vat": None}), "61.00", "61.00"),
}


@pytest.mark.parametrize("case", PRICES)
def test_the_price_of_the_day(warehouse: Warehouse, case: str) -> None:
    prices, price, msrp = PRICES[case]
    assert rows_of(warehouse, items(warehouse, prices=prices), "price", "msrp") == [(price, msrp)]


RULES: dict[str, tuple[dict[str, Any], str | None]] = {
    "complete": ({}, None),
    "another company's": ({"settings": CatalogueData(companies=["2"])}, "other-company"),
    "no merchandise": ({"product": {"is_merchandise": False}}, "no-merchandise"),
    "a code that the site keeps out": ({"excluded": ("BOOT",)}, "excluded-product"),
    "no title": ({"product": {"title": " "}}, "no-title"),
    "no link": ({"product": {"link": None}}, "no-link"),
    "a link that is none": ({"product": {"link": "boot.html"}}, "no-link"),
    "a link by the site's template": (
        {"product": {"link": None}, "settings": CatalogueData(link="https://shop.example/{product}")},
        None,
    ),
    "no picture, and they are sent": ({"product": {"image": None}}, None),
    "no picture, and they are not": (
        {"product": {"image": None}, "settings": CatalogueData(without_image="exclude")},
        "no-image",
    ),
    "no price": ({"prices": ()}, "no-price"),
    "a price of nothing": ({"prices": ({"price_incl_vat": "0"},)}, "no-price"),
}


@pytest.mark.parametrize("case", RULES)
def test_what_keeps_an_item_out_has_a_name(warehouse: Warehouse, case: str) -> None:
    options, rule = RULES[case]
    assert rows_of(warehouse, items(warehouse, **options), "excluded") == [rule]


def test_stock_of_an_unknown_style_is_no_item(warehouse: Warehouse) -> None:
    found = items(warehouse, stock=({}, {"product": "GONE"}))
    assert rows_of(warehouse, found, "item", "excluded") == [("BOOT_F_075", None), ("GONE_F_075", "no-product")]


def test_a_stocked_sku_that_is_not_listed_is_an_item_of_its_style(warehouse: Warehouse) -> None:
    found = items(warehouse, stock=({"matrix_2": "080"},))
    assert rows_of(warehouse, found, "item", "available") == [("BOOT_F_075", "false"), ("BOOT_F_080", "true")]


def test_skus_that_differ_by_case_only_are_found_both(warehouse: Warehouse) -> None:
    """Fault matrix row 90."""
    found = twin_items(items(warehouse, skus=({"matrix_1": "f"}, {"matrix_1": "G"})))
    assert rows_of(warehouse, found, "matrix_1") == ["F", "f"]


def test_a_template_that_puts_several_skus_into_one_item_is_found(warehouse: Warehouse) -> None:
    twice = ({}, {"matrix_1": "F_075", "matrix_2": ""})
    assert rows_of(warehouse, colliding_items(items(warehouse, skus=twice)), "item", "skus") == [("BOOT_F_075", 2)]
    assert rows_of(warehouse, colliding_items(items(warehouse)), "item") == []


def test_items_are_named_as_sales_data_name_them(warehouse: Warehouse) -> None:
    named = items(warehouse, sales=SalesData(item="{company}-{sku}"))
    assert rows_of(warehouse, named, "item") == ["1-BOOT_F_075"]


def test_an_item_that_was_sold_and_is_not_in_the_catalogue_is_found_and_a_charge_is_none(warehouse: Warehouse) -> None:
    """Fault matrix row 90: the order goes all the same, and the catalogue's item is opened for marketing."""
    sold = [
        ("a", "BOOT_F_075", "goods"),
        ("b", "GONE_F_075", "goods"),
        ("c", "GONE_F_075", "goods"),
        ("d", "P", "charge"),
    ]
    lines = pa.table(
        {
            "line_key": [key for key, _, _ in sold],
            "item": [item for _, item, _ in sold],
            "excluded": pa.nulls(len(sold), pa.string()),
        }
    )
    ledger = pa.table({"sale_key": [key for key, _, _ in sold], "nature": [nature for _, _, nature in sold]})
    found = items_lacking(warehouse.settle(lines), warehouse.settle(ledger), items(warehouse))
    assert rows_of(warehouse, found, "item", "lines") == [("GONE_F_075", 2)]
