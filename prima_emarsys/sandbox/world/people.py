"""The shoppers, firms and internal accounts of a stretch of the world: accounts, their addresses, their merges.

A person is not an account: about a quarter of the shoppers have two to eight, because a web order without an account
code makes a new one. Here belongs who exists, since when, and how many orders each account will place; the orders
themselves belong to `orders`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from prima_emarsys.sandbox.world import words
from prima_emarsys.sandbox.world.catalogue import YEARS
from prima_emarsys.sandbox.world.columns import (
    DAY,
    Bools,
    Ints,
    codes,
    const,
    dates,
    flags,
    join,
    pc,
    pick,
    stamps,
    table,
    where,
)

ACCOUNT_TYPES = ("RETAIL", "TRADE", "STAFF", "SAMPLE", "TRANSFER")
RETAIL, TRADE, STAFF, SAMPLE, TRANSFER = range(5)
KIND_SHARES = (0.955, 0.033, 0.006, 0.003, 0.003)
CHANNELS = ("WEB", "MAIL", "SHOP", "TRADE", "STAFF", "MKT", "STOCK")
WEB, MAIL, SHOP = range(3)
ORDER_TYPES = ("WEB", "MAIL", "SHOP", "TRADE", "STAFF", "SAMPLE", "TRANSFER")
TRANSFER_PREFIX = "ST"
"""Accounts whose code begins so move stock between sites; they are nobody."""
FIRST_CODE = 100_000
"""Number of the first account code; codes have ten digits."""
COMPANIES = ("1", "2")


@dataclass(frozen=True)
class Stretch:
    """The accounts `first` … `first + size - 1` of `accounts`, as seen at `now` (wall-clock seconds)."""

    first: int
    size: int
    accounts: int
    now: int


@dataclass(frozen=True)
class People:
    """Accounts of a stretch as columns; orders are in the order of time.

    `order_account` and `order_account_now` index accounts: who ordered, and whose order it is since a merge moved it
    (`moved_at` by account that ordered; -1 where nothing moved).
    """

    kind: Ints
    company: Ints
    channel: Ints
    currency: Ints
    person: Ints
    accounts_of_person: Ints
    code: pa.Array
    addresses: Ints
    emailed: Bools
    order_account: Ints
    order_account_now: Ints
    moved_at: Ints
    ordered_at: Ints
    tables: dict[str, pa.Table]


def code_number(account: Ints, accounts: int) -> Ints:
    """Scatter account indexes over the range of codes, one to one, so that a person's codes are no neighbours."""
    stride = 7_919
    while np.gcd(stride, accounts) != 1:
        stride += 2
    return FIRST_CODE + (account * stride + 31) % accounts


def make_people(rng: np.random.Generator, stretch: Stretch, orders_per_account: float) -> People:
    """Draw the accounts of a stretch and when each of them orders."""
    size, now = stretch.size, stretch.now
    kind_of_person = rng.choice(len(KIND_SHARES), size, p=KIND_SHARES)
    several = (kind_of_person == RETAIL) & (rng.random(size) < 0.26)
    accounts_of = np.where(several, 1 + np.minimum(rng.geometric(0.42, size), 7), 1)
    persons = int(np.searchsorted(np.cumsum(accounts_of), size)) + 1
    accounts_of = accounts_of[:persons]
    accounts_of[-1] -= accounts_of.sum() - size
    kind_of_person = kind_of_person[:persons]
    person = np.repeat(np.arange(persons), accounts_of)
    first_account = np.cumsum(accounts_of) - accounts_of
    account = np.arange(size)
    nth = account - first_account[person]

    # When persons order: a window of activity each, and a year with two high seasons.
    mean = np.where(kind_of_person == TRADE, 2.0, 0.88) * orders_per_account * size / persons
    orders_of = np.minimum(rng.poisson(rng.gamma(0.75, mean / 0.75)), 41)
    orders_of = np.where(accounts_of > 1, np.maximum(orders_of, accounts_of), orders_of)
    begin = rng.random(persons) ** 1.3
    end = np.where(rng.random(persons) < 0.45, 1.0, begin + (1 - begin) * rng.random(persons))
    buyer = np.repeat(np.arange(persons), orders_of)
    share = begin[buyer] + (end - begin)[buyer] * rng.random(len(buyer))
    by_person = np.argsort(buyer + share, kind="stable")  # share is below 1
    ordered_at = _moments(rng, share[by_person], now)
    nth_order = np.arange(len(buyer)) - (np.cumsum(orders_of) - orders_of)[buyer]
    order_account = first_account[buyer] + nth_order * accounts_of[buyer] // np.maximum(orders_of[buyer], 1)
    opened_at = _moments(rng, begin[person] * 0.999, now)
    np.minimum.at(opened_at, order_account, ordered_at)
    with_orders = np.zeros(size, dtype=bool)
    with_orders[order_account] = True
    first_order = np.full(size, now)
    np.minimum.at(first_order, order_account, ordered_at)
    # A web order without a code opened the account; every other account was there before.
    opened_at = np.where(with_orders & (nth > 0), first_order, opened_at)

    kind = kind_of_person[person]
    company = ((kind == RETAIL) & (rng.random(persons)[person] < 0.03)).astype(np.int64)
    person_channel = rng.choice(3, persons, p=[0.62, 0.2, 0.18])[person]
    channel = np.select(
        [kind == TRADE, kind == STAFF, kind == SAMPLE, kind == TRANSFER, nth > 0], [3, 4, 5, 6, WEB], person_channel
    )
    abroad = (kind == RETAIL) & ((rng.random(persons)[person] < 0.05) | (company == 1))
    currency = np.where(abroad, np.where(rng.random(persons)[person] < 0.8, 1, 2), 0)  # GBP, EUR, USD
    code = _account_codes(kind, company, account + stretch.first, stretch.accounts)

    standing, moved_at, merges = _merges(rng, now, code, company, accounts_of, first_account, opened_at)
    in_time = np.argsort(ordered_at, kind="stable")
    order_account, ordered_at = order_account[in_time], ordered_at[in_time]
    who = _Who(rng, stretch, person, nth, kind, company, channel, abroad, code, opened_at)
    customers, emailed = who.customers(currency)
    addresses, address_count = who.addresses()
    return People(
        kind=kind,
        company=company,
        channel=channel,
        currency=currency,
        person=person,
        accounts_of_person=accounts_of,
        code=code,
        addresses=address_count,
        emailed=emailed,
        order_account=order_account,
        order_account_now=standing[order_account],
        moved_at=moved_at,
        ordered_at=ordered_at,
        tables={"customer": customers, "customer_address": addresses, "customer_merge": merges},
    )


def _moments(rng: np.random.Generator, share: np.ndarray, now: int) -> Ints:
    """Shares of the trading years as wall-clock moments: autumn and spring are high, and so are the evenings."""
    days = YEARS * 365
    today = now // DAY
    day_of_year = (today - days + np.arange(days + 1)) % 365
    weight = 1 + 0.5 * np.cos((day_of_year - 310) / 365 * 2 * np.pi) ** 2 + np.arange(days + 1) / days * 0.4
    cumulated = np.concatenate([[0], np.cumsum(weight)])
    day = np.interp(share * cumulated[-1], cumulated, np.arange(days + 2)).astype(np.int64)
    hour = rng.choice(np.arange(7, 24), len(share), p=_HOURS)
    moment = (today - days + day) * DAY + hour * 3600 + rng.integers(0, 3600, len(share))
    return np.where(moment > now, np.maximum(moment - DAY, 0), moment)


_HOURS = np.array([2, 4, 6, 7, 7, 7, 8, 6, 6, 6, 6, 7, 8, 10, 10, 7, 3], dtype=float)
_HOURS /= _HOURS.sum()


def _account_codes(kind: Ints, company: Ints, account: Ints, accounts: int) -> pa.Array:
    # The second company has its own run of codes, so that one code may stand in both.
    number = code_number(np.where(company == 1, account - 1, account), accounts)
    plain = codes(number, 10)
    return where(kind == TRANSFER, join(TRANSFER_PREFIX, codes(number, 8)), plain)


def _merges(
    rng: np.random.Generator,
    now: int,
    code: pa.Array,
    company: Ints,
    accounts_of: Ints,
    first_account: Ints,
    opened_at: Ints,
) -> tuple[Ints, Ints, pa.Table]:
    """Some persons' oldest account was merged into their newest; in half of the cases its orders moved along.

    Returns the account that each account's orders stand under now, since when (-1: for ever), and the merges.
    """
    merged_persons = np.flatnonzero((accounts_of > 1) & (rng.random(len(accounts_of)) < 0.04))
    loser = first_account[merged_persons]
    survivor = loser + accounts_of[merged_persons] - 1
    since = opened_at[survivor]
    merged_at = since + ((now - since) * rng.random(len(loser))).astype(np.int64)
    standing, moved_at = np.arange(len(company)), np.full(len(company), -1)
    moves = rng.random(len(loser)) < 0.5
    standing[loser[moves]] = survivor[moves]
    moved_at[loser[moves]] = merged_at[moves]
    merges = table(
        "customer_merge",
        len(loser),
        company=pick(COMPANIES, company[loser]),
        customer_code=code.take(pa.array(loser)),
        merged_into_code=code.take(pa.array(survivor)),
        merged_at=stamps(merged_at),
        changed_at=stamps(merged_at),
    )
    return standing, moved_at, merges


@dataclass
class _Who:
    """Names, e-mails, answers and addresses of the accounts of a stretch."""

    rng: np.random.Generator
    stretch: Stretch
    person: Ints
    nth: Ints
    kind: Ints
    company: Ints
    channel: Ints
    abroad: Bools
    code: pa.Array
    opened_at: Ints

    def _of_person(self, high: int) -> Ints:
        """One draw below `high` a person, repeated for each of its accounts."""
        return self.rng.integers(0, high, int(self.person[-1]) + 1)[self.person]

    def _chance(self, share: float) -> Bools:
        return self.rng.random(len(self.person)) < share

    def customers(self, currency: Ints) -> tuple[pa.Table, Bools]:
        rng, rows = self.rng, len(self.person)
        female = self._of_person(2) == 0
        given = np.where(female, 0, len(words.FEMALE)) + self._of_person(40)
        forenames = pa.array([*words.FEMALE, *words.MALE])
        forename, surname = pick(forenames, given), pick(words.SURNAMES, self._of_person(len(words.SURNAMES)))
        initial = pc.utf8_slice_codeunits(forename, 0, 1)
        firm = join(surname, " ", pick(words.FIRMS, self._of_person(len(words.FIRMS))))
        trade, staff, sample, transfer = (self.kind == kind for kind in (TRADE, STAFF, SAMPLE, TRANSFER))
        private = ~(trade | transfer)

        # The person's first account numbers the mailbox, so that no two persons share one by chance.
        number = codes(self.person + self.stretch.first)
        local = join(pc.utf8_lower(forename), ".", pc.utf8_lower(surname), number)
        domain = pick(words.MAIL_DOMAINS, self._of_person(len(words.MAIL_DOMAINS)))
        email = join(local, "@", where(staff | sample | transfer, const(words.OWN_DOMAIN, rows), domain))
        email = where(trade, join("accounts@", pc.utf8_lower(surname), number, ".example"), email)
        spelt = rng.choice(4, rows, p=[0.88, 0.06, 0.03, 0.03])
        spelt[self.nth == 0] = 0
        email = where(spelt == 1, pc.utf8_upper(email), email)
        email = where(spelt == 2, pc.utf8_capitalize(email), email)
        email = where(spelt == 3, join(" ", email, " "), email)
        blank = self._chance(0.1) & private & (self.nth == 0) & (self.channel != WEB)
        email = where(blank, const("", rows), email)

        asked = self._chance(0.7)
        hard_coded = (self.channel == WEB) & self._chance(0.35)  # a shop that sends "No" for everything, undated
        consent = {}
        for channel, yes in (("email", 0.62), ("mail", 0.45), ("text", 0.25), ("phone", 0.12), ("mobile", 0.15)):
            dated = asked & ~hard_coded
            answered = self.opened_at + rng.integers(0, 30 * DAY, rows) * self._chance(0.15)
            answered = np.where(answered > self.stretch.now, self.opened_at, answered)
            consent[f"receive_{channel}"] = flags(~hard_coded & self._chance(yes), mask=~(asked | hard_coded))
            consent[f"receive_{channel}_at"] = stamps(np.where(dated, answered, -1))
        touched = self.opened_at + rng.integers(0, 200 * DAY, rows) * self._chance(0.2)
        touched = np.where(touched > self.stretch.now, self.opened_at, touched)
        born = self.stretch.now // DAY - rng.integers(18 * 365, 85 * 365, rows)
        gender = pick(["F", "Female", "M", "Male"], np.where(female, 0, 2) + (self.nth > 0))
        phone = join("01632 960", codes(rng.integers(0, 1000, rows), 3))
        mobile = join("07700 900", codes(rng.integers(0, 1000, rows), 3))
        none = pa.scalar(None, pa.string())
        answer_at = [column for name, column in consent.items() if name.endswith("_at")]
        name = where(private, join(forename, " ", surname), firm)
        customers = table(
            "customer",
            rows,
            company=pick(COMPANIES, self.company),
            customer_code=self.code,
            account_name=where(transfer, join("Stock transfer ", self.code), name),
            title=where(private, pick(["Mrs", "Ms", "Miss", "Mr"], np.where(female, self._of_person(3), 3)), none),
            forename=where(private, where(self._chance(0.1), initial, forename), none),
            surname=where(private, surname, none),
            email=email,
            phone=where(self._chance(0.6), phone, none),
            mobile=where(self._chance(0.7) & private, mobile, none),
            date_of_birth=dates(born, mask=~(private & self._chance(0.35))),
            gender=where(private & self._chance(0.7), gender, none),
            account_type=pick(ACCOUNT_TYPES, self.kind),
            channel=pick(CHANNELS, self.channel),
            currency=pick(["GBP", "EUR", "USD"], currency),
            is_trade=flags(trade),
            opened_at=stamps(self.opened_at),
            **consent,
            rent_details=flags(self._chance(0.08), mask=~self._chance(0.6)),
            changed_at=pc.max_element_wise(stamps(touched), *answer_at),
        )
        return customers, ~blank

    def addresses(self) -> tuple[pa.Table, Ints]:
        """Address 1 invoices; further ones are deliveries: gifts for shoppers, offices for firms."""
        rng = self.rng
        count = np.where(self._chance(0.25), 2, 1)
        trade = self.kind == TRADE
        count = np.where(trade, 1 + np.minimum(rng.geometric(0.12, len(count)), 59), count)
        owner = np.repeat(np.arange(len(count)), count)
        rows = len(owner)
        number = np.arange(rows) - (np.cumsum(count) - count)[owner]
        # An account's first address is the person's, unless the person moved house.
        person = np.where((number == 0) & (rng.random(rows) < 0.9), self.person[owner], -1)
        home = rng.integers(0, 2**40, int(self.person[-1]) + 1)
        seed = np.where(person >= 0, home[person], rng.integers(0, 2**40, rows))

        def draw(high: int) -> Ints:
            nonlocal seed
            seed, drawn = seed // high, seed % high
            return drawn

        house = codes(draw(180) + 1)
        street = join(house, " ", pick(words.STREETS, draw(len(words.STREETS))))
        named = draw(5) == 0
        line_1 = where(named, pick(words.HOUSES, draw(len(words.HOUSES))), street)
        line_2 = where(named, street, const("", rows))
        abroad = self.abroad[owner]
        home_town = pick(words.TOWNS, draw(len(words.TOWNS)))
        land = draw(len(words.FOREIGN_TOWNS))
        town = where(abroad, pick(words.FOREIGN_TOWNS, land), home_town)
        area = join(pick(words.POST_AREAS, draw(len(words.POST_AREAS))), codes(draw(19) + 1))
        ending = join(codes(draw(9) + 1), pick(words.POST_ENDS, draw(len(words.POST_ENDS))))
        foreign = codes(10_000 + rng.integers(0, 80_000, rows))
        country = where(abroad, pick(words.FOREIGN_COUNTRIES, land), const("GB", rows))
        opened = self.opened_at[owner]
        blank = const("", rows)
        changed = np.where(number > 0, opened + rng.integers(0, 300 * DAY, rows), opened)
        addresses = table(
            "customer_address",
            rows,
            company=pick(COMPANIES, self.company[owner]),
            customer_code=self.code.take(pa.array(owner)),
            address_number=codes(number + 1),
            address_type=pick(["Invoice", "Delivery"], (number > 0).astype(np.int64)),
            line_1=line_1,
            line_2=line_2,
            line_3=where(trade[owner], pick(["", "Goods in", "Trading estate"], rng.integers(0, 3, rows)), blank),
            line_4=blank,
            line_5=blank,
            line_6=blank,
            city=town,
            postcode=where(abroad, foreign, join(area, " ", ending)),
            country=country,
            changed_at=stamps(np.where(changed > self.stretch.now, opened, changed)),
        )
        return addresses, count
