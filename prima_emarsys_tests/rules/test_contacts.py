"""The desired contact, by example: what is sent, what is withheld, who is excluded, and why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from prima_emarsys.rules import identity
from prima_emarsys.rules.contacts import FIELDS, Composed, Field, compose, main_addresses, site_fields
from prima_emarsys.site import IdentityRules
from prima_emarsys.steps.predictions import PREDICTED
from prima_emarsys.warehouse import Warehouse
from prima_emarsys_tests.rules.tables import rows_of, table

TODAY = date(2026, 11, 20)
COUNTRIES = {"GB": "184", "FR": "61"}
_BOUGHT = pa.schema(
    [
        ("person_key", pa.string()),
        ("first_order_date", pa.date32()),
        ("last_order_date", pa.date32()),
        ("orders", pa.int64()),
        ("units", pa.int64()),
        ("gross_value", pa.decimal128(18, 2)),
        ("refunds_value", pa.decimal128(18, 2)),
        ("net_value", pa.decimal128(18, 2)),
        ("net_value_12m", pa.decimal128(18, 2)),
        ("average_order_value", pa.decimal128(18, 2)),
        ("return_rate", pa.decimal128(18, 2)),
        ("last_return_date", pa.date32()),
        ("lifecycle_stage", pa.string()),
        ("recency_score", pa.int64()),
        ("frequency_score", pa.int64()),
        ("monetary_score", pa.int64()),
        ("rfm_segment", pa.string()),
    ]
)
Rows = list[dict[str, Any]]


def composed(
    warehouse: Warehouse,
    customers: Rows,
    addresses: Rows | None = None,
    bought: Rows | None = None,
    forecasts: Rows | None = None,
    fields: tuple[Field, ...] = FIELDS,
) -> Composed:
    """Contacts of persons `P…` who have one account each, of their own code."""
    found = table(warehouse, "customer", *customers)
    accounts = warehouse.settle(identity.accounts(found, IdentityRules()))
    people = [
        {"person_key": f"P{one['customer_code']}", "account": f"1-{one['customer_code']}", "accounts": 1}
        for one in customers
    ]
    return compose(
        warehouse.settle(pa.Table.from_pylist(people)),
        accounts,
        found,
        table(warehouse, "customer_address", *(addresses or [])),
        warehouse.settle(pa.Table.from_pylist(bought or [], schema=_BOUGHT)),
        warehouse.settle(pa.Table.from_pylist(forecasts or [], schema=PREDICTED)),
        fields=fields,
        countries=COUNTRIES,
        as_of=TODAY,
        settle=warehouse.settle,
    )


def contacts(warehouse: Warehouse, result: Composed) -> dict[str, dict[str, str]]:
    """What is sent, by person, without what is absent."""
    rows = warehouse.read(result.contacts).to_pylist()
    return {row.pop("person_key"): {name: value for name, value in row.items() if value is not None} for row in rows}


def _mail(code: str) -> dict[str, str]:
    return {"customer_code": code, "email": f"{code}@shop.example"}


def test_a_whole_contact_as_emarsys_stores_it(warehouse: Warehouse) -> None:
    result = composed(
        warehouse,
        [
            {
                "customer_code": "0000000007",
                "email": " Ann@Shop.Example ",
                "forename": " Ann ",
                "surname": "O'Neill-Ævar",
                "gender": "Female",
                "date_of_birth": date(1980, 2, 3),
                "phone": "+44 20 7946 0000",
                "mobile": "",
                "is_trade": True,
            }
        ],
        [
            {
                "customer_code": "0000000007",
                "line_1": "1 High Street",
                "line_2": " ",
                "line_4": "Soho",
                "city": "London",
                "postcode": "W1A 1AA",
                "country": "GB",
            }
        ],
        [
            {
                "person_key": "P0000000007",
                "first_order_date": date(2025, 1, 31),
                "last_order_date": date(2026, 10, 1),
                "orders": 3,
                "units": 4,
                "gross_value": Decimal("140.00"),
                "refunds_value": Decimal("-0.50"),
                "net_value": Decimal("140.50"),
                "net_value_12m": Decimal("0.00"),
                "average_order_value": Decimal("46.83"),
                "return_rate": Decimal("25.00"),
                "last_return_date": None,
                "lifecycle_stage": "active",
                "recency_score": 5,
                "frequency_score": 4,
                "monetary_score": 1,
                "rfm_segment": "champions",
            }
        ],
        [
            {
                "person_key": "P0000000007",
                "expected_orders_12m": Decimal("1.7421"),
                "expected_value_12m": Decimal("81.60"),
                "probability_alive": Decimal("0.8812"),
            }
        ],
    )
    assert contacts(warehouse, result) == {
        "P0000000007": {
            "email": "ann@shop.example",
            "first_name": "Ann",
            "last_name": "O'Neill-Ævar",
            "birth_date": "1980-02-03",
            "gender": "2",
            "address": "1 High Street, Soho",
            "city": "London",
            "postcode": "W1A 1AA",
            "country": "184",
            "phone": "+44 20 7946 0000",
            "account": "1-0000000007",
            "accounts": "1",
            "trade": "yes",
            "first_order_date": "2025-01-31",
            "last_order_date": "2026-10-01",
            "orders": "3",
            "units": "4",
            "gross_value": "140.00",
            "refunds_value": "-0.50",
            "net_value": "140.50",
            "net_value_12m": "0.00",
            "average_order_value": "46.83",
            "return_rate": "25.00",
            "recency_score": "5",
            "frequency_score": "4",
            "monetary_score": "1",
            "rfm_segment": "champions",
            "lifecycle_stage": "active",
            "expected_orders_12m": "2",
            "expected_value_12m": "100",
            "probability_alive": "1",
        }
    }
    assert rows_of(warehouse, result.withheld) == []
    assert rows_of(warehouse, result.excluded) == []


def test_a_value_that_does_not_fit_is_withheld_and_listed_and_the_contact_goes_without_it(
    warehouse: Warehouse,
) -> None:
    result = composed(
        warehouse,
        [
            _mail("fits") | {"forename": "x" * 60, "surname": "ø" * 60, "phone": "1" * 60},
            _mail("long") | {"forename": "x" * 61, "surname": "ø" * 61, "phone": "1" * 61, "mobile": "2" * 61},
        ],
        [
            {"customer_code": "fits", "line_1": "a" * 126, "line_2": "b" * 127, "city": "c" * 60},
            {"customer_code": "long", "line_1": "a" * 127, "line_2": "b" * 127, "city": "c" * 61, "postcode": "W1"},
        ],
    )
    sent = contacts(warehouse, result)
    assert {name: len(sent["Pfits"][name]) for name in ("first_name", "last_name", "address", "city", "phone")} == {
        "first_name": 60,
        "last_name": 60,
        "address": 255,
        "city": 60,
        "phone": 60,
    }
    assert sent["Plong"] == {
        "email": "long@shop.example",
        "postcode": "W1",
        "account": "1-long",
        "accounts": "1",
    }
    assert rows_of(warehouse, result.withheld, "person_key", "field", "reason") == [
        ("Plong", "address", "is longer than 255 characters"),
        *(("Plong", name, "is longer than 60 characters")
          for name in ("city", "first_name", "last_name", "mobile", "phone")),
    ]  # fmt: skip


def test_characters_beyond_the_basic_plane_are_left_out_and_nothing_else_is(warehouse: Warehouse) -> None:
    examples = {
        "Ann \U0001f600": "Ann",
        "\U0001f600": None,
        "A\U0001f45fnn": "Ann",
        "Zoë": "Zoë",
        "Łukasz": "Łukasz",
        "李": "李",
        "\u2615 Bar": "\u2615 Bar",
        "": None,
        "NA": "NA",
    }
    result = composed(warehouse, [_mail(str(n)) | {"forename": raw} for n, raw in enumerate(examples)])
    sent = contacts(warehouse, result)
    assert [sent[f"P{n}"].get("first_name") for n in range(len(examples))] == list(examples.values())


def test_a_country_is_sent_by_its_number_and_one_that_emarsys_does_not_know_is_withheld(warehouse: Warehouse) -> None:
    examples = {"GB": "184", "FR": "61", "AQ": None, None: None}
    result = composed(
        warehouse,
        [_mail(str(n)) for n in range(len(examples))],
        [{"customer_code": str(n), "country": country} for n, country in enumerate(examples)],
    )
    sent = contacts(warehouse, result)
    assert [sent[f"P{n}"].get("country") for n in range(len(examples))] == list(examples.values())
    assert rows_of(warehouse, result.withheld) == [("P2", "country", "is no country that Emarsys knows")]


def test_a_date_of_birth_that_nobody_believes_is_withheld(warehouse: Warehouse) -> None:
    examples = {
        date(1900, 1, 1): None,
        date(1850, 5, 5): None,
        date(1900, 1, 2): "1900-01-02",
        TODAY: "2026-11-20",
        date(2026, 11, 21): None,
    }
    result = composed(warehouse, [_mail(str(n)) | {"date_of_birth": day} for n, day in enumerate(examples)])
    sent = contacts(warehouse, result)
    assert [sent[f"P{n}"].get("birth_date") for n in range(len(examples))] == list(examples.values())
    reason = "is no believable date of birth"
    assert rows_of(warehouse, result.withheld) == [(f"P{n}", "birth_date", reason) for n in (0, 1, 4)]


def test_gender_is_sent_as_a_choice_where_it_is_known(warehouse: Warehouse) -> None:
    examples = {"M": "1", "male": "1", " F ": "2", "FEMALE": "2", "X": None, "": None, None: None}
    result = composed(warehouse, [_mail(str(n)) | {"gender": raw} for n, raw in enumerate(examples)])
    sent = contacts(warehouse, result)
    assert [sent[f"P{n}"].get("gender") for n in range(len(examples))] == list(examples.values())


def test_the_address_is_the_invoice_address_with_the_lowest_number_else_the_lowest_of_any(warehouse: Warehouse) -> None:
    def one(code: str, number: str, kind: str) -> dict[str, str]:
        return {"customer_code": code, "address_number": number, "address_type": kind}

    rows = [
        one("A", "1", "delivery"),
        one("A", "10", "invoice"),
        one("A", "2", "invoice"),
        one("B", "7", "delivery"),
        one("B", "11", "delivery"),
        one("C", "02", "invoice"),
        one("C", "01", "invoice"),
    ]
    for given in (rows, rows[::-1]):
        found = main_addresses(table(warehouse, "customer_address", *given))
        assert rows_of(warehouse, found, "customer_code", "address_number") == [("A", "2"), ("B", "7"), ("C", "01")]


def test_a_person_without_a_usable_address_is_excluded_by_name_and_nothing_of_it_is_withheld(
    warehouse: Warehouse,
) -> None:
    result = composed(
        warehouse,
        [
            _mail("A"),
            {"customer_code": "B", "email": None, "forename": "x" * 61},
            {"customer_code": "C", "email": "a..b@shop.example"},
            {"customer_code": "D", "email": "na@na.com"},
        ],
    )
    assert list(contacts(warehouse, result)) == ["PA"]
    assert rows_of(warehouse, result.excluded) == [
        ("PB", "no-email:missing"),
        ("PC", "no-email:invalid"),
        ("PD", "no-email:placeholder"),
    ]
    assert rows_of(warehouse, result.withheld) == []


def test_a_person_of_whom_prima_has_no_account_any_more_is_excluded_by_name(warehouse: Warehouse) -> None:
    customers = table(warehouse, "customer", _mail("A"))
    leads = [{"person_key": f"P{code}", "account": f"1-{code}", "accounts": 1} for code in "AZ"]
    result = compose(
        warehouse.settle(pa.Table.from_pylist(leads)),
        warehouse.settle(identity.accounts(customers, IdentityRules())),
        customers,
        table(warehouse, "customer_address"),
        warehouse.settle(_BOUGHT.empty_table()),
        warehouse.settle(PREDICTED.empty_table()),
        fields=FIELDS,
        countries=COUNTRIES,
        as_of=TODAY,
        settle=warehouse.settle,
    )
    assert list(contacts(warehouse, result)) == ["PA"]
    assert rows_of(warehouse, result.excluded) == [("PZ", "gone-from-prima")]


@pytest.mark.parametrize(
    ("is_trade", "said"),
    [(True, "yes"), (False, "no"), (None, None)],
)
def test_trade_is_said_in_words_and_not_at_all_where_prima_does_not_say(
    warehouse: Warehouse, is_trade: bool | None, said: str | None
) -> None:
    result = composed(warehouse, [_mail("A") | {"is_trade": is_trade}])
    assert contacts(warehouse, result)["PA"].get("trade") == said


def test_forecasts_are_sent_in_steps_and_not_at_all_where_there_is_none(warehouse: Warehouse) -> None:
    """1, 2 and 5 times a power of ten, the nearest; probabilities in quarters."""
    examples = {
        "A": ("0.0499", "0.49", "0.1249", "0", "0", "0"),
        "B": ("0.0500", "0.50", "0.1250", "0.1", "1", "0.25"),
        "C": ("0.1499", "1.49", "0.5000", "0.1", "1", "0.5"),
        "D": ("0.3500", "7.50", "0.8749", "0.5", "10", "0.75"),
        "E": ("1.4999", "149.99", "0.8750", "1", "100", "1"),
        "F": ("12.0000", "350.00", "1.0000", "10", "500", "1"),
        "G": ("9999.0000", "88000000.00", "1.0000", "500", "5000000", "1"),
    }
    names = ("expected_orders_12m", "expected_value_12m", "probability_alive")
    forecasts = [
        {"person_key": f"P{code}", **dict(zip(names, map(Decimal, one[:3]), strict=True))}
        for code, one in examples.items()
    ]
    sent = contacts(warehouse, composed(warehouse, [_mail(code) for code in "ABCDEFGZ"], forecasts=forecasts))
    assert {key: tuple(one[name] for name in names) for key, one in sent.items() if key != "PZ"} == {
        f"P{code}": one[3:] for code, one in examples.items()
    }
    assert not set(names) & set(sent["PZ"])


def test_a_site_renames_and_drops_fields_and_only_those_are_composed(warehouse: Warehouse) -> None:
    dropped: Mapping[str, str | None] = {field.name: None for field in FIELDS if field.name not in ("email", "phone")}
    chosen = site_fields({**dropped, "phone": "landline", "orders": "crm_orders"})
    assert [(field.name, field.string_id, field.system) for field in chosen] == [
        ("email", "email", True),
        ("phone", "landline", False),
        ("orders", "crm_orders", False),
    ]
    result = composed(warehouse, [_mail("A") | {"forename": "x" * 61, "phone": "1"}], fields=chosen)
    assert contacts(warehouse, result) == {"PA": {"email": "A@shop.example".lower(), "phone": "1"}}
    assert rows_of(warehouse, result.withheld) == []


def test_a_site_that_names_an_unknown_attribute_or_drops_the_address_is_told_so() -> None:
    with pytest.raises(ValueError, match="no attribute shoe_size; there are account, accounts, address"):
        site_fields({"shoe_size": "x"})
    with pytest.raises(ValueError, match="the e-mail address cannot be left out"):
        site_fields({"email": None})


def test_consent_and_ages_are_not_among_the_fields() -> None:
    names = {field.name for field in FIELDS} | {field.string_id for field in FIELDS}
    assert not any(word in name for name in names for word in ("optin", "opt_in", "consent", "days_since"))
    assert all(field.personal == field.system for field in FIELDS)
