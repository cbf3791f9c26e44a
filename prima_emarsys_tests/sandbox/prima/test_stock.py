"""What the stock requests answer: byte by byte, in ranges, by name, company by company."""

from __future__ import annotations

import pytest

from prima_emarsys.sandbox.prima.server import LocalPrima
from prima_emarsys_tests.sandbox.prima.conftest import Query, ask, asked, everything, request

STOCK = (
    "INSERT INTO stock (company, warehouse, product, matrix_1, matrix_2, matrix_3, matrix_4, physical, allocated, "
    "held, buffer, expected_on) VALUES ('1', :warehouse, 'ZZ9', 'F', :size, '', '', :physical, :allocated, :held, "
    ":buffer, :expected_on)"
)


def stock(sql: Query, size: str, warehouse: str = "MAIN", **values: object) -> None:
    base = {"physical": 0, "allocated": 0, "held": 0, "buffer": None, "expected_on": None}
    sql(STOCK, **(base | values | {"size": size, "warehouse": warehouse}))


def test_an_answer_is_written_as_prima_writes_it(prima: LocalPrima, sql: Query) -> None:
    stock(sql, "075", physical=9, allocated=2, held=1, expected_on="2026-12-24")
    stock(sql, "075", "SHOP", physical=3, buffer=2)
    stock(sql, "080", expected_on="2018-01-16")
    assert ask(prima, everything(first="ZZ", last="ZZZ")) == (
        '<?xml version="1.0" encoding="ISO-8859-1" ?>\n'
        '<Result Company="1" RequestStatus="OK" RequestType="ProductAvailableToSell"><Data>'
        '<sku AvailableDate="" AvailableQuantity="7" MtrxCode1="F" MtrxCode2="075" MtrxCode3="" MtrxCode4="" '
        'Product="ZZ9"/>'
        '<sku AvailableDate="16/01/2018" AvailableQuantity="0" MtrxCode1="F" MtrxCode2="080" MtrxCode3="" '
        'MtrxCode4="" Product="ZZ9"/></Data></Result>'
    )


@pytest.mark.parametrize(
    ("rows", "units", "day"),
    [
        ([{"physical": 5, "allocated": 9}, {"warehouse": "SHOP", "physical": 2}], "2", ""),
        ([{"physical": 5, "allocated": 9, "expected_on": "2026-11-01"}], "0", "01/11/2026"),
        ([{"physical": 0}], "0", ""),
        ([{"expected_on": "2026-11-02"}, {"warehouse": "SHOP", "expected_on": "2026-11-01"}], "0", "01/11/2026"),
        ([{"physical": 1}, {"warehouse": "QC", "physical": 50}], "1", ""),
    ],
    ids=["one warehouse owes", "owed", "nothing known", "the earlier day", "not sellable"],
)
def test_available_is_summed_over_sellable_warehouses_each_floored_at_nought(
    prima: LocalPrima, sql: Query, rows: list[dict[str, object]], units: str, day: str
) -> None:
    for row in rows:
        stock(sql, "075", **row)  # type: ignore[arg-type]
    [[sku]] = asked(prima, everything(first="ZZ9"))
    assert (sku.get("AvailableQuantity"), sku.get("AvailableDate")) == (units, day)


def test_the_whole_answer_is_ordered_unique_and_as_large_as_the_catalogue(prima: LocalPrima, sql: Query) -> None:
    [data] = asked(prima, everything())
    keys = [tuple(sku.get(name, "") for name in ("Product", "MtrxCode1", "MtrxCode2")) for sku in data]
    assert keys == sorted(set(keys))
    [counted] = sql("SELECT count(*) AS skus FROM sku WHERE company = '1'")
    assert len(keys) == counted["skus"] > 4_000
    assert {sku.tag for sku in data} == {"sku"}
    assert all(sku.get("AvailableQuantity") == "0" for sku in data if sku.get("AvailableDate"))


def test_ranges_of_styles_include_both_ends_and_cover_the_whole(prima: LocalPrima) -> None:
    [whole] = asked(prima, everything())
    products = sorted({sku.get("Product", "") for sku in whole})
    low, high = products[20], products[40]
    parts = [asked(prima, everything(**ends))[0] for ends in ({"last": low}, {"first": low.lower(), "last": high})]
    assert [sorted({sku.get("Product") for sku in part}) for part in parts] == [products[:21], products[20:41]]
    assert len(asked(prima, everything(first=high, last=low))[0]) == 0


def test_named_skus_are_answered_in_the_order_asked_and_as_sku_in_capitals(prima: LocalPrima, sql: Query) -> None:
    rows = sql("SELECT product, matrix_1, matrix_2 FROM sku WHERE company = '1' ORDER BY barcode DESC LIMIT 15")
    named = [
        f'<sku Product="{row["product"]}" MtrxCode1="{row["matrix_1"].lower()}" MtrxCode2="{row["matrix_2"]}" '
        'MtrxCode3="" MtrxCode4=""/>'
        for row in rows
    ]
    [data] = asked(prima, request("MultiAvailableToSell", "<Data>", *named, "</Data>"))
    assert {sku.tag for sku in data} == {"SKU"}
    assert [sku.get("Product") for sku in data] == [row["product"] for row in rows]
    [whole] = asked(prima, everything())
    quantities = {(s.get("Product"), s.get("MtrxCode1"), s.get("MtrxCode2")): s.get("AvailableQuantity") for s in whole}
    expected = [quantities[row["product"], row["matrix_1"], row["matrix_2"]] for row in rows]
    assert [sku.get("AvailableQuantity") for sku in data] == expected


def test_an_unknown_sku_has_nothing_to_sell(prima: LocalPrima) -> None:
    [[sku]] = asked(prima, request("MultiAvailableToSell", '<Data><sku Product="NONE" MtrxCode1="F"/></Data>'))
    assert (sku.get("AvailableQuantity"), sku.get("AvailableDate")) == ("0", "")


def test_companies_are_kept_apart(prima: LocalPrima, sql: Query) -> None:
    stock(sql, "075", physical=4)
    default, other = asked(prima, everything()), asked(prima, everything(), company="2")
    assert (default.get("Company"), other.get("Company")) == ("1", "2")
    assert 0 < len(other[0]) < len(default[0])
    assert not [sku for sku in other[0] if sku.get("Product") == "ZZ9"]
    unknown = asked(prima, everything(), company="7")
    assert (unknown.get("RequestStatus"), unknown.get("Company")) == ("ERROR", "7")


@pytest.mark.parametrize(
    ("text", "request_type"),
    [
        (
            '<Request RequestType="ProductAvailableToSell"><Data ProductFrom="3"" ProductTo=""/></Request>',
            "ProductAvailableToSell",
        ),
        ("not XML", ""),
        ("", ""),
        ('<!DOCTYPE r [<!ENTITY e "x">]><Request RequestType="OrderStatus">&e;</Request>', ""),
    ],
)
def test_what_cannot_be_parsed_is_answered_with_14586_and_what_was_read_of_it(
    prima: LocalPrima, text: str, request_type: str
) -> None:
    said = (
        "The XML may be Invalid or may contain invalid characters. "
        "SAX parser error: SAX-PARSE-NEXT, Unexpected error. (14586)"
    )
    assert ask(prima, text) == (
        '<?xml version="1.0" encoding="ISO-8859-1" ?>\n'
        f'<Result Company="1" Error="{said}" RequestStatus="ERROR" RequestType="{request_type}">'
        f'<RequestError Error="{said}"/></Result>'
    )


def test_an_unknown_request_type_is_refused_with_a_number_of_our_own(prima: LocalPrima) -> None:
    root = asked(prima, request("CustomerList", "<Data/>"))
    assert (root.get("RequestStatus"), root.get("RequestType")) == ("ERROR", "CustomerList")
    assert root.get("Error", "").startswith("(E:9001)")


def test_invented_reads_say_that_they_are_and_answer_the_contracts_columns(prima: LocalPrima, sql: Query) -> None:
    root = asked(prima, request("InventedOrders", "<Data/>"))
    [data] = root
    [counted] = sql("SELECT count(*) AS orders FROM sales_order WHERE company = '1'")
    assert len(data) == counted["orders"]
    first = data[0].attrib
    assert list(first) == sorted(first)
    assert {"OrderNumber", "CustomerCode", "OrderedAt", "PricesIncludeVat"} <= set(first)
    assert first["PricesIncludeVat"] in ("Yes", "No")
    assert first["OrderedAt"][2::3][0] == "/"
