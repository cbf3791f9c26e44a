"""The cases made on purpose: what a real ERP's data holds and a demonstration would rather not.

Each case is a named function that spoils a handful of records and yields their keys, so that a test finds them in
`sandbox_case`. The handful grows mildly with the world, so that the counts shown by a demonstration stay small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal

from prima_emarsys.sandbox.world import words
from prima_emarsys.sandbox.world.moves import COMPANY, Moves, record
from prima_emarsys.sandbox.world.store import Row

PLACEHOLDER_EMAILS = ("test@test.com", "noemail@noemail.com", "none@none.com", "na@na.com")
BROKEN_EMAILS = (
    "jo@@letterbox.example",
    "no address",
    "anna.wainscott@",
    "two words@inbox.example",
    "@pigeon.example",
)
SHARED_MAILBOX = "reception@old-mill-flats.example"
TRIPPING_SURNAMES = {
    "surname-null": "Null",
    "surname-na": "NA",
    "surname-curly-quote": "O’Brien",
    "surname-umlaut": "Müller",
    "surname-polish": "Wójcik-Żółć",
    "surname-chinese": "欧阳",
    "surname-emoji": "Sunshine 🥿",
    "surname-mojibake": "MÃ¼ller",
    "surname-control-character": "Fair\x07weather",
    "surname-over-wide": "Wolfeschlegel" * 769 + "off",
}
LONG_CITY = "Llanfairpwllgwyngyllgogerychwyrndrobwll-by-the-Old-Stone-Mill"
BURST = 5_000
"""Order lines that one batch job stamped with one moment."""


class Cases:
    """Makes the cases. `plain` are codes of private shoppers with one account each that nothing else depends on."""

    def __init__(self, moves: Moves, plain: Iterator[str], handful: int, now: datetime) -> None:
        self.moves, self.rows, self._plain = moves, moves.rows, plain
        self.handful, self.now = handful, now
        self._buyers = [self.account() for _ in range(8)]
        self._ordered = 0

    def account(self) -> Row:
        """The next account that may be spoilt."""
        row = self.rows.one("customer", company=COMPANY, customer_code=next(self._plain))
        if row is None:
            raise LookupError("an account that the world was built with is gone")
        return row

    def order(self, *, lines: int = 1, quantity: int = 1, days_ago: float = 20, account: Row | None = None) -> Row:
        """A new order in the past, of an account kept for that."""
        self._ordered += 1
        self.moves.move_to(self.now - timedelta(days=days_ago, minutes=7 * self._ordered))
        buyer = account or self._buyers[self._ordered % len(self._buyers)]
        return self.moves.place_order(buyer, self.moves.pick_skus(lines), quantity=quantity)

    def despatched(self, *, lines: int = 1, quantity: int = 1, days_ago: float = 30) -> Row:
        """A new order in the past that left the next day."""
        order = self.order(lines=lines, quantity=quantity, days_ago=days_ago)
        self.later(days=1)
        self.moves.despatch(order)
        return self.again(order)

    def again(self, order: Row) -> Row:
        """The order as it stands now."""
        row = self.rows.one("sales_order", company=order["company"], order_number=order["order_number"])
        if row is None:
            raise LookupError(f"order {order['order_number']} is gone")
        return row

    def later(self, *, days: float) -> None:
        """Time goes on."""
        self.moves.move_to(self.moves.at + timedelta(days=days))

    def set_account(self, account: Row, **values: object) -> str:
        """Spoil an account some days ago."""
        self.moves.move_to(self.now - timedelta(days=3, minutes=int(account["customer_code"]) % 600))
        return record("customer", self.moves.change_account(account, **values))

    def set_order(self, order: Row, **values: object) -> str:
        """Spoil an order's header."""
        self.rows.rewrite("sales_order", self.again(order) | values)
        return record("sales_order", order)


Case = Callable[[Cases], Iterator[str]]


def email_differs_by_case(c: Cases) -> Iterator[str]:
    """Two accounts of one person, whose e-mail is written once in capitals between blanks."""
    for _ in range(c.handful):
        first, second = c.account(), c.account()
        email = f"{first['forename']}.{first['surname']}.{int(first['customer_code'])}@pigeon.example".lower()
        yield c.set_account(first, email=email)
        same = {name: first[name] for name in ("account_name", "title", "forename", "surname", "gender")}
        yield c.set_account(second, email=f" {email.upper()} ", **same)


def blank_email(c: Cases) -> Iterator[str]:
    """No e-mail, in three ways."""
    for n in range(c.handful):
        yield c.set_account(c.account(), email=("", "   ", None)[n % 3])


def placeholder_email(c: Cases) -> Iterator[str]:
    """Addresses that stand for "none given"; the same one in two accounts must not join them."""
    for email in (*PLACEHOLDER_EMAILS, PLACEHOLDER_EMAILS[0]):
        yield c.set_account(c.account(), email=email)


def broken_email(c: Cases) -> Iterator[str]:
    """Addresses that cannot be one."""
    for email in BROKEN_EMAILS:
        yield c.set_account(c.account(), email=email)


def shared_mailbox(c: Cases) -> Iterator[str]:
    """One mailbox, six accounts, six surnames."""
    for surname in words.SURNAMES[:6]:
        yield c.set_account(c.account(), email=SHARED_MAILBOX, surname=surname)


def own_domain_email(c: Cases) -> Iterator[str]:
    """A retail account that is really a colleague's."""
    for _ in range(c.handful):
        account = c.account()
        yield c.set_account(account, email=f"{account['forename']}@{words.OWN_DOMAIN}".lower())


def consent_unknown(c: Cases) -> Iterator[str]:
    """Never asked: null everywhere."""
    yield from (c.set_account(c.account(), **_consent(None, None)) for _ in range(c.handful))


def consent_hard_coded_no(c: Cases) -> Iterator[str]:
    """A shop that writes "No" for everybody, without a date."""
    yield from (c.set_account(c.account(), **_consent(False, None)) for _ in range(c.handful))


def consent_withdrawn(c: Cases) -> Iterator[str]:
    """A dated, explicit no."""
    at = c.now - timedelta(days=3)
    yield from (c.set_account(c.account(), receive_email=False, receive_email_at=at) for _ in range(c.handful))


def _consent(answer: bool | None, at: datetime | None) -> dict[str, object]:
    values: dict[str, object] = {"rent_details": answer}
    for channel in ("email", "mail", "text", "phone", "mobile"):
        values |= {f"receive_{channel}": answer, f"receive_{channel}_at": at}
    return values


def birth_date_1900(c: Cases) -> Iterator[str]:
    """The date that forms fill in."""
    yield c.set_account(c.account(), date_of_birth=date(1900, 1, 1))


def birth_date_in_future(c: Cases) -> Iterator[str]:
    """Born in two years' time."""
    yield c.set_account(c.account(), date_of_birth=(c.now + timedelta(days=730)).date())


def erased_person(c: Cases) -> Iterator[str]:
    """Erased in Prima: the code stays, the person is gone."""
    none = dict.fromkeys(("account_name", "title", "forename", "surname", "email", "phone", "mobile", "date_of_birth"))
    yield c.set_account(c.account(), erased_at=c.now - timedelta(days=3), **none)


def code_with_leading_zeros(c: Cases) -> Iterator[str]:
    """`00123` is no number."""
    c.moves.move_to(c.now - timedelta(days=25))
    account = c.moves.open_account()
    kept = account | {"customer_code": "00123", "channel": "MAIL"}
    for entity in ("customer", "customer_address"):
        row = c.rows.one(entity, company=COMPANY, customer_code=account["customer_code"])
        if row is not None:
            c.rows.remove(entity, row)
            c.rows.write(entity, row | {"customer_code": "00123"})
    c.order(account=kept)
    yield record("customer", kept)


def city_over_wide(c: Cases) -> Iterator[str]:
    """61 characters, one more than most columns take."""
    yield from _set_address(c, city=LONG_CITY)


def country_uk(c: Cases) -> Iterator[str]:
    """Not the ISO code, yet everybody knows what it means."""
    yield from _set_address(c, country="UK")


def country_unknown(c: Cases) -> Iterator[str]:
    """No country."""
    yield from _set_address(c, country="XX")


def _set_address(c: Cases, **values: str) -> Iterator[str]:
    code = c.account()["customer_code"]
    address = c.rows.one("customer_address", company=COMPANY, customer_code=code, address_number="1")
    if address is not None:
        c.rows.rewrite("customer_address", address | values)
        yield record("customer_address", address)


def merge_chain(c: Cases) -> Iterator[str]:
    """First into second, then second into third."""
    first, second, third = c.account(), c.account(), c.account()
    yield _merge(c, first, second, days_ago=9)
    yield _merge(c, second, third, days_ago=8)


def merge_loop(c: Cases) -> Iterator[str]:
    """Into each other."""
    first, second = c.account(), c.account()
    yield _merge(c, first, second, days_ago=9)
    yield _merge(c, second, first, days_ago=8)


def merge_undone(c: Cases) -> Iterator[str]:
    """Merged by mistake, undone two days later."""
    c.moves.move_to(c.now - timedelta(days=9))
    merge = c.moves.merge(c.account(), c.account())
    undone = c.now - timedelta(days=7)
    c.rows.rewrite("customer_merge", merge | {"unmerged_at": undone, "changed_at": undone})
    yield record("customer_merge", merge)


def merge_of_account_without_orders(c: Cases) -> Iterator[str]:
    """The loser never ordered anything."""
    c.moves.move_to(c.now - timedelta(days=6))
    survivor = c.account()
    yield _merge(c, c.moves.open_account(survivor), survivor, days_ago=5)


def order_moved_by_merge(c: Cases) -> Iterator[str]:
    """The order stood under the loser and now stands under the survivor."""
    for _ in range(c.handful):
        loser, survivor = c.account(), c.account()
        order = c.order(days_ago=12, account=loser)
        c.later(days=2)
        c.moves.despatch(order)
        c.later(days=2)
        c.moves.merge(loser, survivor, [c.again(order)])
        yield record("sales_order", order)


def _merge(c: Cases, loser: Row, survivor: Row, *, days_ago: float) -> str:
    c.moves.move_to(c.now - timedelta(days=days_ago))
    return record("customer_merge", c.moves.merge(loser, survivor))


def part_despatch(c: Cases) -> Iterator[str]:
    """Two pairs ordered, one despatched."""
    for _ in range(c.handful):
        order = c.order(lines=2, days_ago=4)
        c.later(days=1)
        c.moves.despatch(order, part=True)
        yield record("sales_order", order)


def line_cancelled_after_confirmation(c: Cases) -> Iterator[str]:
    """One of two lines was cancelled, the other left."""
    for _ in range(c.handful):
        order = c.order(lines=2, days_ago=10)
        c.later(days=0.5)
        line = c.moves.lines(order)[1]
        c.moves.cancel_line(order, line)
        c.later(days=0.5)
        c.moves.despatch(c.again(order))
        yield record("sales_order_line", line)


def whole_order_cancelled(c: Cases) -> Iterator[str]:
    """Cancelled before anything left."""
    for _ in range(c.handful):
        order = c.order(lines=2, days_ago=6)
        c.later(days=0.2)
        c.moves.cancel_order(order)
        yield record("sales_order", order)


def partial_return(c: Cases) -> Iterator[str]:
    """One of three units came back and was credited."""
    for _ in range(c.handful):
        order = c.despatched(quantity=3)
        c.later(days=8)
        came = c.moves.receive_return(order, units=1)
        c.later(days=1)
        if came:
            c.moves.credit(order["customer_code"], c.moves.worth(came), order=order, came=came)
            yield record("customer_return", came)


def return_not_yet_credited(c: Cases) -> Iterator[str]:
    """Receipted in the warehouse; finance has not credited it."""
    for _ in range(c.handful):
        order = c.despatched()
        c.later(days=20)
        if came := c.moves.receive_return(order):
            yield record("customer_return", came)


def exchange_paid_by_credit(c: Cases) -> Iterator[str]:
    """The credit for the first pair paid for the second: tender, not revenue."""
    for _ in range(c.handful):
        order = c.despatched()
        c.later(days=8)
        came = c.moves.receive_return(order)
        if came:
            note = c.moves.credit(order["customer_code"], c.moves.worth(came), order=order, came=came, kind="Exchange")
            c.later(days=1)
            account = {"company": COMPANY, "customer_code": order["customer_code"], "email": order["order_email"]}
            skus = c.moves.pick_skus(1)
            yield record("sales_order", c.moves.place_order(account, skus, paid_by=note["credit_number"]))


def goodwill_credit(c: Cases) -> Iterator[str]:
    """Money for the shopper's trouble; it names the order, but no line of it."""
    for _ in range(c.handful):
        order = c.despatched()
        c.later(days=5)
        note = c.moves.credit(order["customer_code"], Decimal("10.00"), order=order, kind="Goodwill")
        yield record("credit_note", note)


def credit_for_unknown_order(c: Cases) -> Iterator[str]:
    """The order is not in Prima."""
    c.moves.move_to(c.now - timedelta(days=4))
    code = c.account()["customer_code"]
    yield record("credit_note", c.moves.credit(code, Decimal("59.95"), order_number="19999999"))


def duplicate_looking_credits(c: Cases) -> Iterator[str]:
    """Two units came back one by one: two credit notes that look the same, and both are right."""
    order = c.despatched(quantity=2)
    for _ in range(2):
        c.later(days=4)
        if came := c.moves.receive_return(order, units=1):
            note = c.moves.credit(order["customer_code"], c.moves.worth(came), order=order, came=came)
            yield record("credit_note", note)


def refund_above_sale(c: Cases) -> Iterator[str]:
    """More money went back than came in."""
    for _ in range(c.handful):
        order = c.despatched()
        c.later(days=9)
        if came := c.moves.receive_return(order):
            value = c.moves.worth(came) + 25
            yield record("credit_note", c.moves.credit(order["customer_code"], value, order=order, came=came))


def two_widths_of_one_size(c: Cases) -> Iterator[str]:
    """The same style and size in two width fittings: two SKUs."""
    c.order(days_ago=5)
    for sku in c.moves.pick_skus(10_000):
        alike = [
            other
            for other in c.rows.find("sku", company=COMPANY, product=sku["product"])
            if other["matrix_2"] == sku["matrix_2"]
        ]
        if len(alike) > 1:
            yield record("sales_order", c.moves.place_order(c.account(), alike[:2]))
            return


def product_without_sizes(c: Cases) -> Iterator[str]:
    """Shoe care has no matrix."""
    c.order(days_ago=5)
    sku = next(sku for sku in c.moves.pick_skus(10_000) if not sku["matrix_2"])
    yield record("sales_order", c.moves.place_order(c.account(), [sku]))


def unknown_status_word(c: Cases) -> Iterator[str]:
    """A word that nobody has mapped."""
    for _ in range(c.handful):
        yield c.set_order(c.order(days_ago=3), status="Awaiting Artwork")


def text_where_a_number_belongs(c: Cases) -> Iterator[str]:
    """A quantity of `x`; only SQLite stores it."""
    line = c.moves.lines(c.order(days_ago=3))[0]
    if c.rows.spoil("sales_order_line", line, "quantity", "x"):
        yield record("sales_order_line", line)


def foreign_order_without_rate(c: Cases) -> Iterator[str]:
    """Euros, and nobody knows how many pounds they were."""
    for _ in range(c.handful):
        yield c.set_order(c.order(days_ago=7), currency="EUR", exchange_rate=None)


def zero_amount_order(c: Cases) -> Iterator[str]:
    """Everything was taken off."""
    c.order(days_ago=5)
    yield record("sales_order", c.moves.place_order(c.account(), c.moves.pick_skus(1), free=True))


def ambiguous_hour(c: Cases) -> Iterator[str]:
    """Ordered at 01:30 when the clocks went back: that half hour was twice."""
    yield c.set_order(c.order(), ordered_at=datetime.combine(_last_sunday(c.now, 10), _HALF_PAST_ONE))


def missing_hour(c: Cases) -> Iterator[str]:
    """Ordered at 01:30 when the clocks went forward: that half hour never was."""
    yield c.set_order(c.order(), ordered_at=datetime.combine(_last_sunday(c.now, 3), _HALF_PAST_ONE))


def stamp_in_the_future(c: Cases) -> Iterator[str]:
    """Somebody's clock runs three days ahead."""
    yield c.set_order(c.order(days_ago=2), changed_at=c.now + timedelta(days=3))


_HALF_PAST_ONE = datetime(2000, 1, 1, 1, 30).time()  # noqa: DTZ001 (a time of day)


def _last_sunday(now: datetime, month: int) -> date:
    year = now.year
    while True:
        last = date(year, month, 31)
        sunday = last - timedelta(days=(last.weekday() + 1) % 7)
        if sunday < now.date() - timedelta(days=30):
            return sunday
        year -= 1


CASES: tuple[Case, ...] = (
    email_differs_by_case,
    blank_email,
    placeholder_email,
    broken_email,
    shared_mailbox,
    own_domain_email,
    consent_unknown,
    consent_hard_coded_no,
    consent_withdrawn,
    birth_date_1900,
    birth_date_in_future,
    erased_person,
    code_with_leading_zeros,
    city_over_wide,
    country_uk,
    country_unknown,
    merge_chain,
    merge_loop,
    merge_undone,
    merge_of_account_without_orders,
    order_moved_by_merge,
    part_despatch,
    line_cancelled_after_confirmation,
    whole_order_cancelled,
    partial_return,
    return_not_yet_credited,
    exchange_paid_by_credit,
    goodwill_credit,
    credit_for_unknown_order,
    duplicate_looking_credits,
    refund_above_sale,
    two_widths_of_one_size,
    product_without_sizes,
    unknown_status_word,
    text_where_a_number_belongs,
    foreign_order_without_rate,
    zero_amount_order,
    ambiguous_hour,
    missing_hour,
    stamp_in_the_future,
)


def make_cases(moves: Moves, plain: Iterator[str], *, handful: int, now: datetime) -> dict[str, list[str]]:
    """Make every case; returns the records of each by its name (`email-differs-by-case`)."""
    cases = Cases(moves, plain, handful, now)
    made = {case.__name__.replace("_", "-"): list(case(cases)) for case in CASES}
    for name, surname in TRIPPING_SURNAMES.items():
        made[name] = [cases.set_account(cases.account(), surname=surname)]
    return made
