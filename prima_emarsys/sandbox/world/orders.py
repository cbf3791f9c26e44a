"""What the accounts of a stretch bought: orders, lines, charges, despatches, returns and credit notes.

Every figure follows from the one before: a line's value is quantity × list price − discount, its status follows from
what was cancelled and despatched, a header's status from its lines, a return from what was despatched, a credit from
what came back. So the sums that the project's rules take must come out even here, save for the cases of `nasty`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from prima_emarsys.sandbox.world import words
from prima_emarsys.sandbox.world.catalogue import COMPANY_2_STYLES, WAREHOUSES, Catalogue
from prima_emarsys.sandbox.world.columns import (
    DAY,
    Bools,
    Ints,
    codes,
    const,
    dates,
    flags,
    join,
    money,
    pick,
    rate,
    stamps,
    table,
    where,
)
from prima_emarsys.sandbox.world.people import (
    CHANNELS,
    COMPANIES,
    ORDER_TYPES,
    RETAIL,
    SAMPLE,
    SHOP,
    STAFF,
    TRADE,
    TRANSFER,
    WEB,
    People,
)

CURRENCIES = ("GBP", "EUR", "USD")
LINES_PER_ORDER = 2.0
_LINE_COUNTS = np.array([0.45, 0.27, 0.15, 0.08, 0.03, 0.02])
"""Shares of orders with one, two … six lines; their mean is close to `LINES_PER_ORDER`."""
STATUSES = (
    "Held",
    "Confirmed",
    "Picking",
    "Part Despatched",
    "PART-DESPATCHED",
    "Despatched",
    "Invoiced",
    "Cancelled",
)
"""As this Prima writes them. `Picking` is the site's own word for confirmed; the others fold onto the contract's."""
HELD, CONFIRMED, PICKING, PART, PART_HYPHEN, DESPATCHED, INVOICED, CANCELLED = range(8)
CHARGES = {"RM48": 495, "RM24": 695, "SD1": 995, "GWRAP": 300}
"""Charge codes and their price in pence with VAT."""
FREE_CARRIAGE = 15_000
"""Pence from which the slowest carriage is free."""


@dataclass
class Numbers:
    """The next free number of each document; a world counts on from here."""

    order: int = 20_000_001
    despatch: int = 50_000_001
    customer_return: int = 70_000_001
    credit: int = 80_000_001


@dataclass
class Orders:
    """Tables of a stretch, and what open orders still wait for by (warehouse, SKU)."""

    tables: dict[str, pa.Table]
    open_units: Ints
    plain_orders: Ints = field(repr=False)


def vat_off(pence: Ints, zero_rated: Bools) -> Ints:
    """Value without VAT: 20 % taken off, half up; children's shoes are zero-rated."""
    return np.where(zero_rated, pence, (pence * 10 + 6) // 12)


def exchange_rate(company: Ints, currency: Ints, month: Ints) -> Ints:
    """Base currency per order currency in 0.00000001, the same for a whole month; 1 for the base currency."""
    pounds = np.array([1.0, 0.86, 0.78])[currency]
    euros = np.array([1.16, 1.0, 0.91])[currency]
    wave = 1 + 0.03 * np.sin(month / 5)
    base = np.where(company == 1, 1, 0)
    drifting = np.round(np.where(company == 1, euros, pounds) * wave * 10_000).astype(np.int64) * 10_000
    return np.where(currency == base, 100_000_000, drifting)


def make_orders(rng: np.random.Generator, people: People, catalogue: Catalogue, numbers: Numbers, now: int) -> Orders:
    """Draw what the accounts' orders held and what became of them. `numbers` moves on."""
    book = _Book(rng, people, catalogue, numbers, now)
    book.draw_lines()
    book.draw_fates()
    tables = {"sales_order_line": book.lines(), "order_charge": book.charges(), "despatch": book.despatches()}
    tables |= book.returns_and_credits()
    tables["sales_order"] = book.headers()
    return Orders(tables, book.open_units(), book.plain_orders())


class _Book:
    """The arrays of one stretch while they are drawn; an `o_` array has a value an order, an `l_` array one a line."""

    def __init__(
        self, rng: np.random.Generator, people: People, catalogue: Catalogue, numbers: Numbers, now: int
    ) -> None:
        self.rng, self.people, self.catalogue, self.numbers, self.now = rng, people, catalogue, numbers, now
        self.o_account = people.order_account
        self.o_at = people.ordered_at
        self.orders = len(self.o_at)
        self.o_kind = people.kind[self.o_account]
        self.o_company = people.company[self.o_account]
        self.o_currency = people.currency[self.o_account]
        switches = (self.o_kind == RETAIL) & self.chance(0.15)  # an old account, ordering on the web
        self.o_channel = np.where(switches, WEB, people.channel[self.o_account])
        self.o_number = codes(numbers.order + np.arange(self.orders), 8)
        numbers.order += self.orders
        self.o_exchange = np.full(self.orders, -1)  # number of the credit note that paid

    def chance(self, share: float, size: int | None = None) -> Bools:
        return self.rng.random(self.orders if size is None else size) < share

    # -- what was ordered -----------------------------------------------------------------------------------------

    def draw_lines(self) -> None:
        rng, catalogue = self.rng, self.catalogue
        trade, internal = self.o_kind == TRADE, self.o_kind >= STAFF
        count = 1 + rng.choice(len(_LINE_COUNTS), self.orders, p=_LINE_COUNTS)
        self.o_lines = np.where(trade, count * 2, count)
        self.o_first = np.cumsum(self.o_lines) - self.o_lines
        self.l_order = np.repeat(np.arange(self.orders), self.o_lines)
        self.rows = len(self.l_order)
        self.l_line = np.arange(self.rows) - self.o_first[self.l_order] + 1

        def styles(limit: int) -> Ints:
            weight = catalogue.popularity[:limit]
            return rng.choice(limit, self.rows, p=weight / weight.sum())

        day = self.o_at[self.l_order] // DAY
        basic = styles(COMPANY_2_STYLES)
        style = np.where(self.o_company[self.l_order] == 1, basic, styles(len(catalogue.product)))
        style = np.where(catalogue.launched[style] > day, basic, style)
        sizes = catalogue.sizes[style]
        size = np.clip(np.round(sizes / 2 + rng.normal(0, 1, self.rows) * sizes / 5), 0, sizes - 1).astype(np.int64)
        width = (rng.random(self.rows) * catalogue.widths[style]).astype(np.int64)
        self.l_style, self.l_sku = style, catalogue.first_sku[style] + width * sizes + size
        several = catalogue.several[style] & (rng.random(self.rows) < 0.3)
        self.l_quantity = np.where(several, rng.integers(2, 4, self.rows), 1)
        self.l_quantity = np.where(trade[self.l_order], rng.integers(2, 25, self.rows), self.l_quantity)

        price_list = np.where(trade, 1, np.array([0, 2, 3])[self.o_currency])
        unit = catalogue.unit_price(price_list[self.l_order], style, day)
        off = np.select(
            [self.o_kind == STAFF, (self.o_kind == SAMPLE) | (self.o_kind == TRANSFER)],
            [40, 100],
            np.where(trade | internal | ~self.chance(0.15), 0, 10 + 5 * rng.integers(0, 3, self.orders)),
        )
        self.o_off = off
        full = self.l_quantity * unit
        self.l_discount = full * off[self.l_order] // 100
        self.l_value = full - self.l_discount
        self.l_excl = vat_off(self.l_value, catalogue.zero_rated[style])

    # -- what became of it ----------------------------------------------------------------------------------------

    def draw_fates(self) -> None:
        rng, now = self.rng, self.now
        shop = self.o_channel == SHOP
        whole = self.chance(0.03) & ~shop
        cancelled_at = self.o_at + rng.integers(600, 2 * DAY, self.orders)
        whole &= cancelled_at <= now
        self.o_cancelled_at = np.where(whole, cancelled_at, -1)

        partly = (self.chance(0.03, self.rows) & ~whole[self.l_order] & ~shop[self.l_order]) & (
            cancelled_at[self.l_order] <= now
        )
        some = rng.integers(1, self.l_quantity + 1)
        self.l_cancelled = np.select([whole[self.l_order], partly], [self.l_quantity, some], 0)
        self.l_cancelled_at = np.where(self.l_cancelled > 0, cancelled_at[self.l_order], -1)

        # Two batches at most: most lines leave with the first, some orders wait for a second.
        first_at = self.o_at + np.where(shop, 120, rng.integers(2 * DAY + 1, 4 * DAY, self.orders))
        quick = ~shop & self.chance(0.5) & ~self._any_line(partly)
        first_at = np.where(quick, self.o_at + rng.integers(3 * 3600, 2 * DAY, self.orders), first_at)
        second_at = first_at + rng.integers(2 * DAY, 25 * DAY, self.orders)
        slow = self.chance(0.06) & ~shop
        self.o_held = self.chance(0.01) & ~shop & (self.o_at > now - 12 * DAY) & ~whole
        leaving = self.l_quantity - self.l_cancelled
        later = np.where(
            slow[self.l_order],
            np.where(leaving > 1, leaving // 2, leaving * self.chance(0.5, self.rows)),
            0,
        )
        first_gone = (first_at <= now) & ~self.o_held
        second_gone = (second_at <= now) & ~self.o_held
        self.l_batches = np.stack(
            [(leaving - later) * first_gone[self.l_order], later * second_gone[self.l_order]], axis=1
        )
        self.l_despatched = self.l_batches.sum(axis=1)
        self.o_batch_at = np.stack([first_at, second_at], axis=1)
        last_batch = np.where(self._any_line(self.l_batches[:, 1] > 0), second_at, first_at)
        self.o_despatched_at = np.where(self._any_line(self.l_despatched > 0), last_batch, -1)

        self.l_status = self._status(self.l_quantity, self.l_cancelled, self.l_despatched, self.l_order)
        ordered, cancelled, despatched = map(self._sum, (self.l_quantity, self.l_cancelled, self.l_despatched))
        self.o_status = self._status(ordered, cancelled, despatched, np.arange(self.orders))
        # When every line happens to be cancelled, so is the order.
        self.o_cancelled_at = np.where(self.o_status == CANCELLED, cancelled_at, -1)
        self.o_changed = np.maximum.reduce(
            [self.o_at, self.o_despatched_at, self._max(self.l_cancelled_at), self.o_cancelled_at]
        )
        self.l_changed = np.maximum.reduce(
            [
                self.o_at[self.l_order],
                self.l_cancelled_at,
                np.where(self.l_despatched > 0, self.o_despatched_at[self.l_order], -1),
            ]
        )

    def _status(self, ordered: Ints, cancelled: Ints, despatched: Ints, order: Ints) -> Ints:
        whim = (self.o_at[order] % 10) == 0
        settled = self.now - self.o_at[order] > 30 * DAY
        waiting = np.where(self.o_held[order], HELD, np.where(self.o_at[order] % 4 == 0, PICKING, CONFIRMED))
        return np.select(
            [cancelled == ordered, despatched == 0, despatched + cancelled < ordered],
            [CANCELLED, waiting, np.where(whim, PART_HYPHEN, PART)],
            np.where(settled & ~whim, INVOICED, DESPATCHED),
        )

    def _sum(self, values: Ints) -> Ints:
        return np.add.reduceat(values, self.o_first) if self.orders else values

    def _max(self, values: Ints) -> Ints:
        return np.maximum.reduceat(values, self.o_first) if self.orders else values

    def _any_line(self, condition: Bools) -> Bools:
        return self._sum(condition.astype(np.int64)) > 0

    def open_units(self) -> Ints:
        """Units by (warehouse, SKU) that open orders still wait for; the shop hands over at once."""
        waiting = self.l_quantity - self.l_cancelled - self.l_despatched
        units = np.zeros((len(WAREHOUSES), self.catalogue.skus), dtype=np.int64)
        np.add.at(units, (self._warehouse(), self.l_sku), waiting)
        return units

    def _warehouse(self) -> Ints:
        """Index into `catalogue.WAREHOUSES`."""
        by_order = np.where(self.o_company == 1, 3, np.where(self.o_channel == SHOP, 1, 0))
        return by_order[self.l_order]

    def plain_orders(self) -> Ints:
        """Orders of private shoppers of company 1 in pounds: what the cases of `nasty` may spoil."""
        return np.flatnonzero((self.o_kind == RETAIL) & (self.o_company == 0) & (self.o_currency == 0))

    # -- tables ---------------------------------------------------------------------------------------------------

    def _company(self, order: Ints) -> pa.Array:
        return pick(COMPANIES, self.o_company[order])

    def headers(self) -> pa.Table:
        rng, people = self.rng, self.people
        rows = self.orders
        account = people.order_account_now
        month = self.o_at // (30 * DAY)
        delivery = 1 + (rng.random(rows) * people.addresses[account]).astype(np.int64)
        email = people.tables["customer"].column("email").combine_chunks().take(pa.array(self.o_account))
        none = pa.scalar(None, pa.string())
        return table(
            "sales_order",
            rows,
            company=self._company(np.arange(rows)),
            order_number=self.o_number,
            customer_code=people.code.take(pa.array(account)),
            status=pick(STATUSES, self.o_status),
            order_type=pick(ORDER_TYPES, np.where(self.o_kind == RETAIL, self.o_channel, self.o_kind + 2)),
            channel=pick(CHANNELS, self.o_channel),
            source_media=where(
                self.chance(0.6), pick(words.SOURCE_MEDIA, rng.integers(0, len(words.SOURCE_MEDIA), rows)), none
            ),
            currency=pick(CURRENCIES, self.o_currency),
            exchange_rate=rate(exchange_rate(self.o_company, self.o_currency, month)),
            prices_include_vat=flags(self.o_kind != TRADE),
            ordered_at=stamps(self.o_at),
            cancelled_at=stamps(self.o_cancelled_at),
            invoice_address_number=const("1", rows),
            delivery_address_number=codes(delivery),
            order_email=where((self.o_channel == WEB) & people.emailed[self.o_account], email, none),
            exchange_credit_number=where(self.o_exchange > 0, codes(self.o_exchange, 8), none),
            changed_at=stamps(np.maximum(self.o_changed, people.moved_at[self.o_account])),
        )

    def lines(self) -> pa.Table:
        rows, order, rng = self.rows, self.l_order, self.rng
        promoted = (self.o_off > 0) & (self.o_kind == RETAIL)
        promotion = pick(words.PROMOTIONS, np.clip((self.o_off - 10) // 5, 0, 2), mask=~promoted)
        due = self.o_at[order] // DAY + np.where(rng.random(rows) < 0.9, 3, 21)
        return table(
            "sales_order_line",
            rows,
            company=self._company(order),
            order_number=self.o_number.take(pa.array(order)),
            line_number=codes(self.l_line),
            product=pick(self.catalogue.product, self.l_style),
            **self.catalogue.matrix(self.l_sku),
            status=pick(STATUSES, self.l_status),
            quantity=pa.array(self.l_quantity),
            quantity_cancelled=pa.array(self.l_cancelled),
            quantity_despatched=pa.array(self.l_despatched),
            value_incl_vat=money(self.l_value),
            value_excl_vat=money(self.l_excl),
            discount_incl_vat=money(self.l_discount),
            promotion=promotion.take(pa.array(order)),
            warehouse=pick([code for _, code, _, _ in WAREHOUSES], self._warehouse()),
            due_on=dates(due),
            cancelled_at=stamps(self.l_cancelled_at),
            changed_at=stamps(self.l_changed),
        )

    def charges(self) -> pa.Table:
        carried = (self.o_kind == RETAIL) & (self.o_channel != SHOP)
        value = self._sum(self.l_value)
        service = self.rng.choice(3, self.orders, p=[0.7, 0.2, 0.1])
        carriage = np.flatnonzero(carried & ~((value >= FREE_CARRIAGE) & (service == 0)))
        wrapped = np.flatnonzero(carried & self.chance(0.04))
        self.o_carriage = np.zeros(self.orders, dtype=np.int64)
        prices = np.array(list(CHARGES.values()))
        self.o_carriage[carriage] = prices[service[carriage]]
        self.o_service = service
        order = np.concatenate([carriage, wrapped])
        charge = np.concatenate([service[carriage], np.full(len(wrapped), 3)])
        nth = np.repeat([1, 2], [len(carriage), len(wrapped)])
        by_order = np.argsort(order, kind="stable")
        order, charge, nth = order[by_order], charge[by_order], nth[by_order]
        pence = prices[charge]
        return table(
            "order_charge",
            len(order),
            company=self._company(order),
            order_number=self.o_number.take(pa.array(order)),
            charge_number=codes(nth),
            charge_code=pick(list(CHARGES), charge),
            value_incl_vat=money(pence),
            value_excl_vat=money(vat_off(pence, np.zeros(len(pence), dtype=bool))),
            changed_at=stamps(self.o_at[order]),
        )

    def despatches(self) -> pa.Table:
        line, batch = np.nonzero(self.l_batches)
        note, nth = self._number_documents(self.l_order[line] * 2 + batch)
        line, batch = line[nth.order], batch[nth.order]
        order = self.l_order[line]
        left_at = self.o_batch_at[order, batch]
        number = codes(self.numbers.despatch + note, 8)
        self.numbers.despatch += int(note[-1]) + 1 if len(note) else 0
        carrier = pick(words.CARRIERS, (self.o_at[order] % 3), mask=self.o_channel[order] == SHOP)
        tracking = join("ZZ", codes(self.o_at[order] % 10**9, 9), "QQ")
        return table(
            "despatch",
            len(line),
            company=self._company(order),
            despatch_number=number,
            line_number=codes(nth.number),
            order_number=self.o_number.take(pa.array(order)),
            order_line_number=codes(self.l_line[line]),
            quantity=pa.array(self.l_batches[line, batch]),
            despatched_at=stamps(left_at),
            carrier=carrier,
            tracking_reference=where(self.o_channel[order] == SHOP, pa.scalar(None, pa.string()), tracking),
            changed_at=stamps(left_at),
        )

    @staticmethod
    def _number_documents(owner: Ints) -> tuple[Ints, _Numbering]:
        """Documents that rows belong to, counted from 0 in the order of `owner`, and each row's place within."""
        order = np.argsort(owner, kind="stable")
        ordered = owner[order]
        begins = np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(ordered) else np.zeros(0, dtype=bool)
        document = np.cumsum(begins) - 1
        start = np.flatnonzero(begins)
        return document, _Numbering(order, np.arange(len(owner)) - start[document] + 1)

    def returns_and_credits(self) -> dict[str, pa.Table]:
        rng, now = self.rng, self.now
        sent_back = self.chance(0.2) & (self.o_kind <= TRADE) & (self.o_despatched_at > 0)
        receipted_at = self.o_despatched_at + rng.integers(4 * DAY, 30 * DAY, self.orders)
        sent_back &= receipted_at <= now
        came = sent_back[self.l_order] & (self.l_despatched > 0) & self.chance(0.65, self.rows)
        line = np.flatnonzero(came)
        back = rng.integers(1, np.maximum(self.l_despatched[line], 1) + 1)
        back = np.where(rng.random(len(line)) < 0.7, self.l_despatched[line], back)
        document, nth = self._number_documents(self.l_order[line])
        order = self.l_order[line]
        return_number = codes(self.numbers.customer_return + document, 8)
        self.numbers.customer_return += int(document[-1]) + 1 if len(document) else 0
        returns = table(
            "customer_return",
            len(line),
            company=self._company(order),
            return_number=return_number,
            line_number=codes(nth.number),
            order_number=self.o_number.take(pa.array(order)),
            order_line_number=codes(self.l_line[line]),
            quantity=pa.array(back),
            receipted_at=stamps(receipted_at[order]),
            reason=pick(words.RETURN_REASONS, rng.integers(0, len(words.RETURN_REASONS), len(line))),
            changed_at=stamps(receipted_at[order]),
        )
        credits = self._credits(line, back, return_number, receipted_at)
        return {"customer_return": returns, **credits}

    def _credits(self, line: Ints, back: Ints, return_number: pa.Array, receipted_at: Ints) -> dict[str, pa.Table]:
        """A credit note an order, some days after the goods; recent ones are drafts or not raised yet."""
        rng, now = self.rng, self.now
        finalised_at = receipted_at + rng.integers(3600, 7 * DAY, self.orders)
        finalised = finalised_at <= now
        raised = self.chance(0.98) & (finalised | self.chance(0.4))
        credited = np.flatnonzero(raised[self.l_order[line]])
        line, back, return_number = line[credited], back[credited], return_number.take(pa.array(credited))
        order = np.unique(self.l_order[line])
        number = np.full(self.orders, -1)
        number[order] = self.numbers.credit + np.arange(len(order))
        self.numbers.credit += len(order)

        # An exchange: the credit pays for the account's next order.
        account = self.o_account
        by_account = np.argsort(account, kind="stable")
        following = np.full(self.orders, -1)
        same = account[by_account][1:] == account[by_account][:-1]
        following[by_account[:-1][same]] = by_account[1:][same]
        exchanged = order[
            (following[order] >= 0)
            & finalised[order]
            & (finalised_at[order] <= self.o_at[following[order]])
            & (rng.random(len(order)) < 0.3)
        ]
        self.o_exchange[following[exchanged]] = number[exchanged]
        kind = np.zeros(self.orders, dtype=np.int64)
        kind[exchanged] = 1

        done = finalised[order]
        raised_at = np.where(done, finalised_at[order] - 1800, receipted_at[order])
        written = np.where(done, finalised_at[order], raised_at)
        notes = table(
            "credit_note",
            len(order),
            company=self._company(order),
            credit_number=codes(number[order], 8),
            customer_code=self.people.code.take(pa.array(self.people.order_account_now[order])),
            order_number=self.o_number.take(pa.array(order)),
            credit_type=pick(["Refund", "Exchange"], kind[order]),
            status=pick(["Draft", "Finalised"], done.astype(np.int64)),
            currency=pick(CURRENCIES, self.o_currency[order]),
            exchange_rate=rate(
                exchange_rate(self.o_company[order], self.o_currency[order], self.o_at[order] // (30 * DAY))
            ),
            raised_at=stamps(raised_at),
            finalised_at=stamps(np.where(done, finalised_at[order], -1)),
            reason=const("RETURN", len(order)),
            changed_at=stamps(np.maximum(written, self.people.moved_at[self.o_account[order]])),
        )

        # Goods first, then carriage where the whole order came back.
        whole = self._sum(self.l_despatched) == self._sum(_scatter(line, back, self.rows))
        refunded = order[whole[order] & (self.o_carriage[order] > 0) & (rng.random(len(order)) < 0.4)]
        goods, fees = len(line), len(refunded)
        owner = np.concatenate([self.l_order[line], refunded])
        _, nth = self._number_documents(owner)
        owner, is_fee = owner[nth.order], (nth.order >= goods)
        source = np.concatenate([line, np.zeros(fees, dtype=np.int64)])[nth.order]
        quantity = np.concatenate([back, np.zeros(fees, dtype=np.int64)])[nth.order]
        style = self.l_style[source]
        value = np.where(is_fee, self.o_carriage[owner], self.l_value[source] * quantity // self.l_quantity[source])
        without = vat_off(value, ~is_fee & self.catalogue.zero_rated[style])
        all_back = ~is_fee & (quantity == self.l_quantity[source])
        without = np.where(all_back, self.l_excl[source], without)
        returns = pa.concat_arrays([return_number, pa.nulls(fees, pa.string())]).take(pa.array(nth.order))
        rows = goods + fees
        none = pa.scalar(None, pa.string())
        matrix = {
            name: where(~is_fee, column, none) for name, column in self.catalogue.matrix(self.l_sku[source]).items()
        }
        written_by_order = np.full(self.orders, -1)
        written_by_order[order] = written
        lines = table(
            "credit_note_line",
            rows,
            company=self._company(owner),
            credit_number=codes(number[owner], 8),
            line_number=codes(nth.number),
            order_number=self.o_number.take(pa.array(owner)),
            order_line_number=codes(self.l_line[source], mask=is_fee),
            return_number=returns,
            charge_code=pick(list(CHARGES), self.o_service[owner], mask=~is_fee),
            product=pick(self.catalogue.product, style, mask=is_fee),
            **matrix,
            quantity=pa.array(quantity),
            value_incl_vat=money(value),
            value_excl_vat=money(without),
            changed_at=stamps(written_by_order[owner]),
        )
        return {"credit_note": notes, "credit_note_line": lines}


@dataclass(frozen=True)
class _Numbering:
    """How rows fall into documents: the rows' order, and each row's number within its document from 1."""

    order: Ints
    number: Ints


def _scatter(index: Ints, values: Ints, size: int) -> Ints:
    spread = np.zeros(size, dtype=np.int64)
    spread[index] = values
    return spread
