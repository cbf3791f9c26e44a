"""The contact that Emarsys should hold for a person: identity, address and what was bought, as Emarsys stores it.

One list says which attributes exist, what they mean and how Emarsys types them; the site file may rename or drop them.
Every value leaves here as the text that Emarsys gives back, so that desired, acknowledged and read-back values compare
as they stand. A value that Emarsys cannot store is withheld and listed; the contact goes without it. Absent is never
sent as empty here: whether an old value must be cleared is the plan's business. Consent is not among the fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import reduce
from itertools import pairwise

import ibis
import ibis.expr.types as ir

from prima_emarsys.rules.identity import Settle


class Storage(StrEnum):
    """How Emarsys stores a field (Emarsys help: "field types"), and so what fits."""

    SHORT_TEXT = "shorttext"  # up to 60 characters
    LONG_TEXT = "longtext"  # up to 255 characters
    NUMERIC = "numeric"  # up to 24 digits
    DATE = "date"  # YYYY-MM-DD
    CHOICE = "singlechoice"  # the id of a choice

    @property
    def longest(self) -> int | None:
        """Characters that fit, where the type has a limit."""
        return {Storage.SHORT_TEXT: 60, Storage.LONG_TEXT: 255, Storage.NUMERIC: 24}.get(self)


@dataclass(frozen=True)
class Field:
    """One attribute of a contact. `system` fields exist in every account; the others are custom and may be created."""

    name: str
    string_id: str
    storage: Storage
    meaning: str
    system: bool = False
    personal: bool = False


def _system(name: str, string_id: str, storage: Storage, meaning: str) -> Field:
    return Field(name, string_id, storage, meaning, system=True, personal=True)


def _custom(name: str, storage: Storage, meaning: str) -> Field:
    return Field(name, f"prima_{name}", storage, meaning)


def _one_two_five(first: int, last: int) -> list[str]:
    """1, 2 and 5 times the powers of ten from `first` to `last`, as they are written."""
    return [f"{Decimal(digit).scaleb(power):f}" for power in range(first, last + 1) for digit in (1, 2, 5)]


FIELDS: tuple[Field, ...] = (
    _system("email", "email", Storage.LONG_TEXT, "E-mail address of the lead account, normalised."),
    _system("first_name", "first_name", Storage.SHORT_TEXT, "Given name."),
    _system("last_name", "last_name", Storage.SHORT_TEXT, "Family name."),
    _system("birth_date", "birth_date", Storage.DATE, "Date of birth."),
    _system("gender", "gender", Storage.CHOICE, "1 male, 2 female."),
    _system("address", "address", Storage.LONG_TEXT, "Address lines, separated by commas."),
    _system("city", "city", Storage.SHORT_TEXT, "Town or city."),
    _system("postcode", "zip_code", Storage.SHORT_TEXT, "Postcode."),
    _system("country", "country", Storage.CHOICE, "Country, as Emarsys numbers it."),
    _system("phone", "phone", Storage.SHORT_TEXT, "Telephone."),
    _system("mobile", "mobile", Storage.SHORT_TEXT, "Mobile telephone."),
    _custom("account", Storage.SHORT_TEXT, "The lead account in Prima, as company-code."),
    _custom("accounts", Storage.NUMERIC, "How many accounts in Prima are this person."),
    _custom("trade", Storage.SHORT_TEXT, "Whether the lead account is a trade account: yes or no."),
    _custom("first_order_date", Storage.DATE, "Day of the first order that counts."),
    _custom("last_order_date", Storage.DATE, "Day of the last order that counts."),
    _custom("orders", Storage.NUMERIC, "Number of orders that count."),
    _custom("units", Storage.NUMERIC, "Units sold, net of cancellations."),
    _custom("gross_value", Storage.NUMERIC, "Sales net of cancellations, base currency with VAT."),
    _custom("refunds_value", Storage.NUMERIC, "Returns and credits, base currency with VAT."),
    _custom("net_value", Storage.NUMERIC, "Historic lifetime value: sales less refunds, base currency with VAT."),
    _custom("net_value_12m", Storage.NUMERIC, "The same for orders of the last twelve months."),
    _custom("average_order_value", Storage.NUMERIC, "Net value of an order that counts."),
    _custom("return_rate", Storage.NUMERIC, "Units returned as a percentage of units sold."),
    _custom("last_return_date", Storage.DATE, "Day of the last return or credit of goods."),
    _custom("recency_score", Storage.NUMERIC, "1 to 5; 5 bought most recently."),
    _custom("frequency_score", Storage.NUMERIC, "1 to 5; 5 bought most often."),
    _custom("monetary_score", Storage.NUMERIC, "1 to 5; 5 has the highest net value."),
    _custom("rfm_segment", Storage.SHORT_TEXT, "Name of the recency and frequency group."),
    _custom("lifecycle_stage", Storage.SHORT_TEXT, "Lead, first-time buyer, active, defecting or inactive."),
    _custom(
        "expected_orders_12m", Storage.NUMERIC, "Orders to be expected within twelve months: 0, 0.1, 0.2, 0.5, 1 …"
    ),
    _custom("expected_value_12m", Storage.NUMERIC, "Their value, base currency with VAT: 0, 1, 2, 5, 10, 20, 50 …"),
    _custom(
        "probability_alive", Storage.NUMERIC, "Chance of being a customer still, in quarters; 1 until a second order."
    ),
)

FORECASTS: dict[str, tuple[str, ...]] = {
    "expected_orders_12m": ("0", *_one_two_five(-1, 2)),
    "expected_value_12m": ("0", *_one_two_five(0, 6)),
    "probability_alive": ("0", "0.25", "0.5", "0.75", "1"),
}
"""The forecasts and the steps in which contacts hold them. A forecast of one person may well be wrong by half, and a
new week moves nearly all of them by a little. Of the contacts of those who did nothing, exact figures would change 98 %
with every week's model; these change 6 % (CDNOW and a simulated shop), or 17 % where people buy every third week."""

SCORED: tuple[Field, ...] = tuple(
    field
    for field in FIELDS
    if not field.system and field.name not in ("account", "accounts", "trade") and field.name not in FORECASTS
)
"""The fields that `attributes.attributes` computes."""

_GENDERS = {"m": "1", "male": "1", "f": "2", "female": "2"}
_NO_BIRTH_DATES_UNTIL = date(1900, 1, 1)
# Characters beyond the basic plane (emoji) are lost or break storage in Emarsys's system fields.
_BEYOND_BASIC_PLANE = "[\U00010000-\U0010ffff]"


def site_fields(renamed: Mapping[str, str | None]) -> tuple[Field, ...]:
    """The fields that a site sends: renamed as its site file says, without those it drops (null).

    Raises KeyError-like ValueError for a name that is no attribute, listing those that exist.
    """
    known = {field.name for field in FIELDS}
    if unknown := sorted(set(renamed) - known):
        raise ValueError(f"emarsys.fields: no attribute {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    chosen = []
    for field in FIELDS:
        string_id = renamed.get(field.name, field.string_id)
        if string_id is not None:
            chosen.append(
                Field(
                    field.name,
                    string_id,
                    field.storage,
                    field.meaning,
                    field.system and string_id == field.string_id,
                    field.personal,
                )
            )
        elif field.name == "email":
            raise ValueError("emarsys.fields.email: the e-mail address cannot be left out")
    return tuple(chosen)


def _clean(text: ir.StringValue) -> ir.StringValue:
    return text.re_replace(_BEYOND_BASIC_PLANE, "").strip().nullif("")


def _text(value: ir.Value) -> ir.StringValue:
    return value.cast("string")


def _nearest(value: ir.DecimalValue, steps: Sequence[str]) -> ir.StringValue:
    """The step nearest to a value, the higher one if it is in the middle; steps rise. Null stays null."""
    exact = value.cast("decimal(18,4)")
    middles = [ibis.literal((Decimal(a) + Decimal(b)) / 2, type="decimal(18,4)") for a, b in pairwise(steps)]
    below = [(exact < middle, step) for middle, step in zip(middles, steps, strict=False)]
    return ibis.cases((exact.isnull(), ibis.null("string")), *below, else_=steps[-1])


def main_addresses(addresses: ir.Table) -> ir.Table:
    """One address an account: the invoice address with the lowest number, else the lowest of any kind."""
    order = [
        (addresses.address_type == "invoice").ifelse(0, 1),
        addresses.address_number.length(),
        addresses.address_number,
    ]
    place = ibis.row_number().over(group_by=[addresses.company, addresses.customer_code], order_by=order)
    return addresses.mutate(place=place).filter(ibis._.place == 0).drop("place")


@dataclass(frozen=True)
class Composed:
    """`contacts`: person_key and one text column a field. `withheld`: person_key, field, reason. `excluded`:
    person_key, rule. Every person is in `contacts` or in `excluded`."""

    contacts: ir.Table
    withheld: ir.Table
    excluded: ir.Table


def compose(
    leads: ir.Table,
    accounts: ir.Table,
    customers: ir.Table,
    addresses: ir.Table,
    attributes: ir.Table,
    predictions: ir.Table,
    *,
    fields: tuple[Field, ...],
    countries: Mapping[str, str],
    as_of: date,
    settle: Settle,
) -> Composed:
    """The desired contacts of the given persons.

    `leads`: person_key, account, accounts (how many); `accounts` as made by `identity.accounts`; `customers` and
    `addresses` with the contract's columns; `attributes` as made by `attributes.attributes`; `predictions`: person_key
    and the columns named in `FORECASTS`, of those who have a forecast; `countries`: ISO code → choice id of this
    Emarsys account.
    """
    placed = accounts.semi_join(leads, "account").select("company", "customer_code")
    home = main_addresses(addresses.semi_join(placed, ["company", "customer_code"])).select(
        "company", "customer_code", "city", "postcode", "country", *(f"line_{n}" for n in range(1, 7))
    )
    choices = [{"country": iso, "country_id": choice} for iso, choice in countries.items()]
    known = settle(ibis.memtable(choices, schema={"country": "string", "country_id": "string"}))
    base = settle(
        leads.inner_join(accounts.select("account", "company", "customer_code", "email_key", "email_fault"), "account")
        .inner_join(
            customers.select(
                "company",
                "customer_code",
                "forename",
                "surname",
                "gender",
                "date_of_birth",
                "phone",
                "mobile",
                "is_trade",
            ),
            ["company", "customer_code"],
        )
        .left_join(home, ["company", "customer_code"])
        .drop("company_right", "customer_code_right")
        .left_join(known, "country")
        .left_join(attributes, "person_key")
        .drop("country_right", "person_key_right")
        .left_join(predictions, "person_key")
        .drop("person_key_right")
    )
    lines = [_clean(base[f"line_{n}"]) for n in range(1, 7)]
    joined = ibis.literal("").concat(*[(ibis.literal(", ") + line).fill_null("") for line in lines])
    believable = base.date_of_birth.between(_NO_BIRTH_DATES_UNTIL, as_of) & (base.date_of_birth > _NO_BIRTH_DATES_UNTIL)
    values: dict[str, ir.StringValue] = {
        "email": base.email_key,
        "first_name": _clean(base.forename),
        "last_name": _clean(base.surname),
        "birth_date": _text(base.date_of_birth),
        "gender": base.gender.strip().lower().substitute(_GENDERS, else_=ibis.null("string")),
        "address": joined.substr(2).nullif(""),
        "city": _clean(base.city),
        "postcode": _clean(base.postcode),
        "country": base.country_id,
        "phone": _clean(base.phone),
        "mobile": _clean(base.mobile),
        "account": base.account,
        "accounts": _text(base.accounts),
        "trade": ibis.cases((base.is_trade, "yes"), (~base.is_trade, "no"), else_=ibis.null("string")),
        **{name: _nearest(base[name], steps) for name, steps in FORECASTS.items()},
    }
    for field in FIELDS:
        if field.name not in values:
            values[field.name] = _text(base[field.name])
    found = settle(
        base.select(
            "person_key",
            "email_fault",
            unknown_country=base.country.notnull() & base.country_id.isnull(),
            unbelievable_birth_date=(base.date_of_birth.notnull() & ~believable).fill_null(False),
            **{field.name: values[field.name] for field in fields},
        )
    )
    misfits: dict[str, tuple[ir.BooleanValue, str]] = {
        "birth_date": (found.unbelievable_birth_date, "is no believable date of birth"),
        "country": (found.unknown_country, "is no country that Emarsys knows"),
    }
    for field in fields:
        longest = field.storage.longest
        if longest is not None and field.name != "email":
            misfits[field.name] = (found[field.name].length() > longest, f"is longer than {longest} characters")
    sendable = found.email.notnull()
    none = ibis.null("string")
    columns = {
        field.name: misfits[field.name][0].fill_null(False).ifelse(none, found[field.name])
        if field.name in misfits
        else found[field.name]
        for field in fields
    }
    # One pass finds whether anybody's field is withheld, a second says which fields of the few.
    wrong = {name: misfit.fill_null(False) for name, (misfit, _) in misfits.items() if name in columns}
    suspects = settle(
        found.filter(sendable, reduce(lambda one, other: one | other, wrong.values())).select("person_key", **wrong)
    )
    possible = settle(ibis.memtable([{"field": name, "reason": misfits[name][1]} for name in wrong]))
    pairs = suspects.cross_join(possible)
    is_wrong = ibis.cases(*((pairs.field == name, pairs[name]) for name in wrong), else_=False)
    return Composed(
        contacts=found.filter(sendable).select("person_key", **columns),
        withheld=pairs.filter(is_wrong).select("person_key", "field", "reason"),
        excluded=found.filter(~sendable)
        .select("person_key", rule=ibis.literal("no-email:") + found.email_fault.fill_null("missing"))
        .union(leads.anti_join(accounts, "account").select("person_key", rule=ibis.literal("gone-from-prima"))),
    )
