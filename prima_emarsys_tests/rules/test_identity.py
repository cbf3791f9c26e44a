"""Who is who, by example: addresses, internal accounts, merges, person keys, lead accounts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa

from prima_emarsys.rules import identity
from prima_emarsys.site import IdentityRules, InternalRule
from prima_emarsys.warehouse import Warehouse
from prima_emarsys_tests.rules.tables import rows_of, table

PLAIN = IdentityRules()


def _accounts(warehouse: Warehouse, *customers: Mapping[str, Any], rules: IdentityRules = PLAIN) -> ir.Table:
    return warehouse.settle(identity.accounts(table(warehouse, "customer", *customers), rules))


# --- e-mail ---------------------------------------------------------------------------------------------------------


def test_an_address_is_compared_without_outer_blanks_and_in_lower_case_and_otherwise_as_it_stands(
    warehouse: Warehouse,
) -> None:
    examples = {
        "ann@shop.example": "ann@shop.example",
        "  Ann@Shop.Example ": "ann@shop.example",
        "ann@shop.example\t\n": "ann@shop.example",
        "ANN+Sale@shop.example": "ann+sale@shop.example",
        "a.n.n@shop.example": "a.n.n@shop.example",
        "o'neill@shop.example": "o'neill@shop.example",
        "ann_b-c@sub.shop.co.example": "ann_b-c@sub.shop.co.example",
        f"{'x' * 64}@shop.example": f"{'x' * 64}@shop.example",
    }
    accounts = _accounts(warehouse, *({"customer_code": str(n), "email": raw} for n, raw in enumerate(examples)))
    found = dict(rows_of(warehouse, accounts, "customer_code", "email_key"))
    assert found == {str(n): key for n, key in enumerate(examples.values())}
    assert rows_of(warehouse, accounts.filter(accounts.email_fault.notnull())) == []


def test_an_address_that_cannot_be_one_joins_nobody_and_says_why(warehouse: Warehouse) -> None:
    examples = {
        None: "missing",
        "": "missing",
        "   ": "missing",
        "NA@na.com": "placeholder",
        " test@TEST.com ": "placeholder",
        "ann": "invalid",
        "a..b@shop.example": "invalid",
        ".a@shop.example": "invalid",
        "a.@shop.example": "invalid",
        "ann@shop.example;ben@shop.example": "invalid",
        "<ann@shop.example>": "invalid",
        "ann@shop,example": "invalid",
        "ann@shop": "invalid",
        "ann@shop..example": "invalid",
        "ann@-shop.example": "invalid",
        "ann@shop.example.": "invalid",
        "ann @shop.example": "invalid",
        "ann@@shop.example": "invalid",
        "ann@shop.example\nben@shop.example": "invalid",
        "ann\u200b@shop.example": "invalid",
        "ann@shop.example\u200b": "invalid",
        "ann\u00a0@shop.example": "invalid",
        "änn@shop.example": "invalid",
        "n/a": "invalid",
        f"{'x' * 65}@shop.example": "invalid",
        f"ann@{'x' * 250}.example": "invalid",
    }
    accounts = _accounts(warehouse, *({"customer_code": str(n), "email": raw} for n, raw in enumerate(examples)))
    found = {code: (fault, key) for code, fault, key in rows_of(
        warehouse, accounts, "customer_code", "email_fault", "email_key")}  # fmt: skip
    assert found == {str(n): (fault, None) for n, fault in enumerate(examples.values())}


def test_a_site_names_its_own_placeholders(warehouse: Warehouse) -> None:
    rules = IdentityRules(placeholder_emails=["counter@shop.example"])
    accounts = _accounts(
        warehouse,
        {"customer_code": "1", "email": "Counter@shop.example"},
        {"customer_code": "2", "email": "na@na.com"},
        rules=rules,
    )
    assert rows_of(warehouse, accounts, "customer_code", "email_fault") == [("1", "placeholder"), ("2", None)]


# --- internal accounts ----------------------------------------------------------------------------------------------


def test_an_account_is_internal_when_every_condition_of_a_rule_holds_and_the_first_rule_is_named(
    warehouse: Warehouse,
) -> None:
    rules = IdentityRules(
        internal=[
            InternalRule(name="staff", account_types=["Staff", "TEMP"]),
            InternalRule(name="press", account_types=["trade"], channels=["MKT"]),
            InternalRule(name="transfer", code_prefixes=["ST", "WH"]),
            InternalRule(name="counter", codes=["0000000001"]),
            InternalRule(name="ours", email_domains=["Shop.example"]),
        ]
    )
    examples: list[tuple[dict[str, Any], str | None]] = [
        ({"account_type": "STAFF"}, "internal:staff"),
        ({"account_type": "temp", "email": "x@shop.example"}, "internal:staff"),
        ({"account_type": "TRADE", "channel": "mkt"}, "internal:press"),
        ({"account_type": "TRADE", "channel": "WEB"}, None),
        ({"account_type": "TRADE"}, None),
        ({"channel": "MKT"}, None),
        ({"customer_code": "ST01"}, "internal:transfer"),
        ({"customer_code": "WHx"}, "internal:transfer"),
        ({"customer_code": "st02"}, None),
        ({"customer_code": "0000000001"}, "internal:counter"),
        ({"email": " Ann@SHOP.example"}, "internal:ours"),
        ({"email": "ann@other-shop.example"}, None),
        ({"email": "ann@my.shop.example"}, None),
        ({"erased_at": date(2026, 1, 1), "account_type": "STAFF"}, "erased"),
        ({}, None),
    ]
    customers = [{"customer_code": f"C{n}"} | given for n, (given, _) in enumerate(examples)]
    found = dict(rows_of(warehouse, _accounts(warehouse, *customers, rules=rules), "customer_code", "excluded"))
    assert found == {customer["customer_code"]: rule for customer, (_, rule) in zip(customers, examples, strict=True)}


# --- groups ---------------------------------------------------------------------------------------------------------


def _merge(loser: str, survivor: str, day: int = 1, undone: int | None = None, company: str = "1") -> dict[str, Any]:
    return {
        "company": company,
        "customer_code": loser,
        "merged_into_code": survivor,
        "merged_at": date(2026, 5, day),
        "unmerged_at": date(2026, 6, undone) if undone else None,
    }


a, b, c = "a@shop.example", "b@shop.example", "c@shop.example"

GROUPS: dict[str, tuple[dict[str, str | None], list[dict[str, Any]], list[str]]] = {
    "one e-mail, three accounts": ({"A": a, "B": a.upper(), "C": f" {a}"}, [], ["A+B+C"]),
    "no e-mail joins nobody": ({"A": None, "B": None, "C": "", "D": "na@na.com", "E": "na@na.com"}, [], [*"ABCDE"]),
    "a merge joins": ({"A": a, "B": b}, [_merge("B", "A")], ["A+B"]),
    "a chain is one person": (
        {"A": a, "B": b, "C": c, "D": None},
        [_merge("A", "B"), _merge("B", "C"), _merge("C", "D")],
        ["A+B+C+D"],
    ),
    "a loop is one person": (
        {"A": a, "B": b, "C": c},
        [_merge("A", "B"), _merge("B", "C"), _merge("C", "A")],
        ["A+B+C"],
    ),
    "a merge into itself is none": ({"A": a}, [_merge("A", "A")], ["A"]),
    "an undone merge is none": ({"A": a, "B": b}, [_merge("B", "A", undone=3)], ["A", "B"]),
    "merged again after it was undone": (
        {"A": a, "B": b, "C": c},
        [_merge("B", "A", 1, undone=1), _merge("B", "C", 9)],
        ["A", "B+C"],
    ),
    "the last merge counts": ({"A": a, "B": b, "C": c}, [_merge("B", "A", 1), _merge("B", "C", 9)], ["A", "B+C"]),
    "a merge joins two addresses": (
        {"A": a, "B": b, "C": a, "D": b},
        [_merge("C", "D")],
        ["A+B+C+D"],
    ),
    "an account that Prima dropped still ties": (
        {"A": a, "C": c},
        [_merge("A", "B"), _merge("C", "B")],
        ["A+B+C"],
    ),
    "long chain": (
        {f"{n:02}": None for n in range(40)},
        [_merge(f"{n:02}", f"{n + 1:02}") for n in range(39)],
        ["+".join(f"{n:02}" for n in range(40))],
    ),
}


def test_accounts_are_one_person_by_merge_or_by_address(warehouse: Warehouse) -> None:
    # All examples at once, each in a company and a mail domain of its own.
    customers, merges, expected = [], [], {}
    for number, (example, (emails, merged, groups)) in enumerate(GROUPS.items()):
        company = str(number)
        for code, email in emails.items():
            own = f"{email}.n{number}x" if email and "shop" in email.lower() else email
            customers.append({"company": company, "customer_code": code, "email": own})
        merges += [merge | {"company": company} for merge in merged]
        expected[company] = (example, sorted(groups))
    accounts = _accounts(warehouse, *customers)
    steps = warehouse.settle(identity.merge_steps(table(warehouse, "customer_merge", *merges)))
    found: dict[str, dict[str, list[str]]] = {}
    for root, account in rows_of(warehouse, identity.components(accounts, steps, warehouse.settle), "root", "account"):
        company, code = account.split("-")
        found.setdefault(company, {}).setdefault(root, []).append(code)
    for company, (example, groups) in expected.items():
        assert sorted("+".join(sorted(codes)) for codes in found[company].values()) == groups, example
        assert all(root == f"{company}-{min(codes)}" for root, codes in found[company].items()), example


def test_one_address_in_two_companies_is_one_person_and_one_code_in_two_companies_is_two(
    warehouse: Warehouse,
) -> None:
    accounts = _accounts(
        warehouse,
        {"company": "1", "customer_code": "7", "email": a},
        {"company": "2", "customer_code": "8", "email": a},
        {"company": "2", "customer_code": "7", "email": b},
    )
    none = warehouse.settle(identity.merge_steps(table(warehouse, "customer_merge")))
    found = rows_of(warehouse, identity.components(accounts, none, warehouse.settle), "account", "root")
    assert found == [("1-7", "1-7"), ("2-7", "2-7"), ("2-8", "1-7")]


def test_accounts_whose_merges_run_in_a_circle_are_named(warehouse: Warehouse) -> None:
    merges = [_merge("A", "B"), _merge("B", "C"), _merge("C", "B"), _merge("D", "E"), _merge("E", "F")]
    steps = warehouse.settle(identity.merge_steps(table(warehouse, "customer_merge", *merges)))
    assert rows_of(warehouse, identity.merge_loops(steps, warehouse.settle), "account") == ["1-A", "1-B", "1-C"]
    straight = warehouse.settle(identity.merge_steps(table(warehouse, "customer_merge", _merge("A", "B"))))
    assert rows_of(warehouse, identity.merge_loops(straight, warehouse.settle), "account") == []


def test_an_address_under_many_surnames_is_reported_as_shared(warehouse: Warehouse) -> None:
    names = ["Ash", " ash ", "Beech", "Cedar"]
    accounts = _accounts(
        warehouse,
        *({"customer_code": f"A{n}", "email": a, "surname": name} for n, name in enumerate(names)),
        *({"customer_code": f"B{n}", "email": b, "surname": name} for n, name in enumerate(names[:3])),
    )
    assert rows_of(warehouse, identity.shared_mailboxes(accounts, 3)) == [(a, 3, 4)]


# --- person keys ----------------------------------------------------------------------------------------------------


class _World:
    """Accounts and merges that change, and what the ledger remembers of their keys."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.links: dict[str, str] = {}
        self.persons: dict[str, tuple[str, datetime]] = {}
        self.day = datetime(2026, 1, 1, tzinfo=UTC)

    def run(self, emails: Mapping[str, str | None], merges: Iterable[dict[str, Any]] = ()) -> dict[str, str]:
        """Account code → person key, without their company; what is new is remembered a day later than before."""
        self.day += timedelta(days=1)
        warehouse = self.warehouse
        opened = date(2026, 1, 1)
        customers = [
            {"customer_code": code, "email": email, "opened_at": opened + timedelta(days=int(code[1:] or 0))}
            for code, email in emails.items()
        ]
        accounts = _accounts(warehouse, *customers)
        steps = warehouse.settle(identity.merge_steps(table(warehouse, "customer_merge", *merges)))
        members = warehouse.settle(identity.components(accounts, steps, warehouse.settle))
        links = pa.Table.from_pylist(
            [{"account": account, "person_key": key} for account, key in self.links.items()],
            schema=pa.schema([("account", pa.string()), ("person_key", pa.string())]),
        )
        persons = pa.Table.from_pylist(
            [{"person_key": key, "account": one, "created_at": day} for key, (one, day) in self.persons.items()],
            schema=pa.schema(
                [("person_key", pa.string()), ("account", pa.string()), ("created_at", pa.timestamp("us", "UTC"))]
            ),
        )
        kept = identity.keep_keys(
            members, warehouse.settle(links), warehouse.settle(persons), accounts, warehouse.settle
        )
        found: list[tuple[str, str, str]] = rows_of(warehouse, kept, "account", "person_key", "root")
        roots = {key: root for _, key, root in found}
        assert len(roots) == len({root for _, _, root in found}), f"two groups share a key: {found}"
        for account, key, _ in found:
            self.links[account] = key
            self.persons.setdefault(key, (key.removeprefix("P"), self.day))
        return {account.removeprefix("1-"): key.removeprefix("P1-") for account, key, _ in found}


def test_a_new_person_is_named_after_the_account_that_was_opened_first(warehouse: Warehouse) -> None:
    assert _World(warehouse).run({"A2": a, "B1": a, "C3": a, "D9": b}) == {
        "A2": "B1",
        "B1": "B1",
        "C3": "B1",
        "D9": "D9",
    }


def test_the_key_stays_whatever_joins_later(warehouse: Warehouse) -> None:
    world = _World(warehouse)
    world.run({"B5": b})
    assert world.run({"B5": b, "A1": b}) == {"A1": "B5", "B5": "B5"}


def test_when_two_persons_become_one_the_oldest_key_wins_and_when_they_part_each_has_its_own_again(
    warehouse: Warehouse,
) -> None:
    world = _World(warehouse)
    world.run({"B2": b})
    world.run({"B2": b, "A1": a, "C3": a})
    assert world.run({"B2": a, "A1": a, "C3": a}) == {"A1": "B2", "B2": "B2", "C3": "B2"}
    # The founder takes its key along; the other side's founder takes up the key that rested.
    assert world.run({"B2": b, "A1": a, "C3": a}) == {"A1": "A1", "B2": "B2", "C3": "A1"}


def test_a_merge_and_its_undoing_give_each_side_its_key_back(warehouse: Warehouse) -> None:
    world = _World(warehouse)
    world.run({"A1": a, "B2": b})
    assert world.run({"A1": a, "B2": b}, [_merge("A1", "B2")]) == {"A1": "A1", "B2": "A1"}
    assert world.run({"A1": a, "B2": b}, [_merge("A1", "B2", undone=2)]) == {"A1": "A1", "B2": "B2"}


def test_a_person_keeps_its_key_when_prima_drops_the_founder(warehouse: Warehouse) -> None:
    world = _World(warehouse)
    world.run({"A1": a, "B2": a, "C3": a})
    assert world.run({"B2": a, "C3": a}) == {"B2": "A1", "C3": "A1"}
    assert world.run({"C3": c}) == {"C3": "A1"}
    # The founder comes back as somebody else: the key is its own, and the others get one that nobody had.
    assert world.run({"A1": a, "C3": c}) == {"A1": "A1", "C3": "C3"}


def test_a_resting_key_is_never_given_to_somebody_else(warehouse: Warehouse) -> None:
    world = _World(warehouse)
    world.run({"A1": a})
    world.run({"A1": a, "C3": c, "E5": c})
    world.run({"A1": a, "C3": c})  # E5 became internal: nobody's, yet remembered under C3's key
    assert world.run({"A1": a, "C3": a}) == {"A1": "A1", "C3": "A1"}
    assert world.run({"A1": a, "C3": a, "E5": c}) == {"A1": "A1", "C3": "A1", "E5": "E5"}
    assert world.run({"A1": a, "C3": c, "E5": b}) == {"A1": "A1", "C3": "C3", "E5": "E5"}


def test_the_reason_of_a_link_says_how_the_account_came_to_the_person(warehouse: Warehouse) -> None:
    accounts = _accounts(
        warehouse,
        {"customer_code": "A", "email": a},
        {"customer_code": "B", "email": a},
        {"customer_code": "C", "email": c},
        {"customer_code": "D", "email": b},
    )
    steps = warehouse.settle(identity.merge_steps(table(warehouse, "customer_merge", _merge("C", "A"))))
    members = warehouse.settle(identity.components(accounts, steps, warehouse.settle))
    links = warehouse.settle(pa.schema([("account", pa.string()), ("person_key", pa.string())]).empty_table())
    persons = warehouse.settle(
        pa.schema(
            [("person_key", pa.string()), ("account", pa.string()), ("created_at", pa.timestamp("us", "UTC"))]
        ).empty_table()
    )
    kept = identity.keep_keys(members, links, persons, accounts, warehouse.settle)
    assert rows_of(warehouse, kept, "account", "reason") == [
        ("1-A", "e-mail"),
        ("1-B", "e-mail"),
        ("1-C", "merge"),
        ("1-D", "own"),
    ]


# --- lead account ---------------------------------------------------------------------------------------------------


def test_the_lead_account_has_not_given_way_has_an_address_and_was_opened_last(warehouse: Warehouse) -> None:
    day = date(2026, 1, 1)
    accounts = _accounts(
        warehouse,
        {"customer_code": "A1", "email": a, "opened_at": day},
        {"customer_code": "A2", "email": a, "opened_at": day + timedelta(days=2)},
        {"customer_code": "A3", "email": None, "opened_at": day + timedelta(days=9)},
        {"customer_code": "A4", "email": a, "opened_at": day + timedelta(days=5)},
        {"customer_code": "A5", "email": a, "opened_at": None},
        {"customer_code": "B1", "email": None, "opened_at": None},
        {"customer_code": "B2", "email": None, "opened_at": None},
        {"customer_code": "C1", "email": c, "opened_at": day},
    )
    persons = warehouse.settle(
        pa.Table.from_pylist(
            [
                {"account": f"1-{code}", "person_key": f"P{code[0]}"}
                for code in ("A1", "A2", "A3", "A4", "A5", "B1", "B2", "C1", "C9")
            ]
        )
    )
    merges = table(warehouse, "customer_merge", _merge("A4", "A1"), _merge("C1", "C9"))
    steps = warehouse.settle(identity.merge_steps(merges))
    found = rows_of(warehouse, identity.lead_accounts(persons, accounts, steps), "person_key", "account")
    # C9 survived the merge, but Prima dropped it: C1 speaks.
    assert found == [("PA", "1-A2"), ("PB", "1-B2"), ("PC", "1-C1")]
