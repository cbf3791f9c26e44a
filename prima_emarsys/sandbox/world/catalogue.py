"""What the made-up retailer sells: styles, SKUs, price lists, warehouses and the books' periods.

The catalogue has the same size in every world (some 200 styles, 4,000 SKUs), because a retailer's range does not grow
with its customers. The matrix follows what is known of footwear in Prima: level 1 is the width fitting, level 2 the
size (`075` is seven and a half), levels 3 and 4 are empty; shoe care has no matrix at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pyarrow as pa

from prima_emarsys.sandbox.world import words
from prima_emarsys.sandbox.world.columns import (
    DAY,
    Bools,
    Ints,
    const,
    dates,
    day_number,
    flags,
    money,
    pick,
    stamps,
    table,
    wall_seconds,
)

YEARS = 3
"""Years of trading before the world's `now`."""
BASE_CURRENCY = {"1": "GBP", "2": "EUR"}
COMPANY_2_STYLES = 60
"""The second company sells the first styles only."""
WAREHOUSES = (
    ("1", "MAIN", "Distribution centre", True),
    ("1", "SHOP", "Harrowmere shop", True),
    ("1", "QC", "Quality control", False),
    ("2", "DUB", "Ballycorrin store", True),
)
PRICE_LISTS = ("RETAIL", "TRADE", "EURO", "DOLLAR")
LIST_CURRENCIES = ("GBP", "GBP", "EUR", "USD")
WIDTH_NAMES = {
    "E": "Narrow",
    "F": "Standard",
    "G": "Wide",
    "H": "Extra wide",
    "EX": "Extra broad",
    "NONE": "One width",
    "": "",
}


@dataclass(frozen=True)
class Catalogue:
    """Styles and SKUs as columns. Prices are pence by (price list, style); days are days since 1970."""

    product: list[str]
    title: list[str]
    brand: list[str]
    category: list[str]
    season: list[str]
    launched: Ints
    reduced_from: Ints
    price: Ints
    reduced_price: Ints
    zero_rated: Bools
    several: Bools
    popularity: np.ndarray
    first_sku: Ints
    sizes: Ints
    widths: Ints
    sku_style: Ints
    sku_width: list[str]
    sku_size: list[str]

    @property
    def skus(self) -> int:
        """How many SKUs company 1 has; company 2's are the first of them."""
        return len(self.sku_style)

    def unit_price(self, price_list: Ints, style: Ints, day: Ints) -> Ints:
        """Pence with VAT that a list asks for a style on a day."""
        reduced = day >= self.reduced_from[style]
        return np.where(reduced, self.reduced_price[price_list, style], self.price[price_list, style])

    def matrix(self, sku: Ints) -> dict[str, pa.Array]:
        """The four matrix columns of SKUs."""
        empty = const("", len(sku))
        return {
            "matrix_1": pick(self.sku_width, sku),
            "matrix_2": pick(self.sku_size, sku),
            "matrix_3": empty,
            "matrix_4": empty,
        }


def half_sizes(first: int, last: int) -> list[str]:
    """`060`, `065`, … for UK sizes in tenths."""
    return [f"{tenths:03d}" for tenths in range(first, last + 1, 5)]


def make_catalogue(rng: np.random.Generator, now: datetime) -> Catalogue:
    """The range of styles; `now` is naive local and only places seasons and launches."""
    today = day_number(now.date())
    # kind, styles, brands, category, sizes, widths, price from-to in pounds, VAT zero-rated, bought in several
    kinds = [
        ("shoe", 48, ["HARR"], "Men > Shoes > Goodyear welted", half_sizes(60, 120), ["F", "G", "H"], 190, 320),
        ("boot", 26, ["HARR", "ALDR"], "Men > Boots", half_sizes(60, 120), ["F", "G"], 210, 340),
        ("shoe", 44, ["WREN", "ALDR"], "Women > Shoes", half_sizes(30, 80), ["E", "F", "EX"], 75, 140),
        ("boot", 22, ["WREN"], "Women > Boots", half_sizes(30, 80), ["F", "G"], 110, 190),
        ("child", 24, ["LARC"], "Children > School shoes", [str(n) for n in range(24, 36)], ["F", "G"], 35, 60),
        ("belt", 8, ["HARR"], "Accessories > Belts", ["32IN", "34IN", "36IN", "38IN"], ["NONE"], 35, 65),
        ("sock", 8, ["KETT"], "Accessories > Socks", ["MEDM", "LRGE"], ["NONE"], 8, 16),
        ("lace", 8, ["KETT"], "Shoe care > Laces", ["ONE"], ["NONE"], 3, 6),
        ("care", 12, ["KETT"], "Shoe care > Polish and trees", [""], [""], 5, 45),
    ]
    product, title, brand, category, retail = [], [], [], [], []
    sizes, widths, first_sku, sku_style, sku_width, sku_size = [], [], [], [], [], []
    zero_rated, several = [], []
    order = rng.permutation([index for index, kind in enumerate(kinds) for _ in range(kind[1])])
    colours = list(words.COLOURS)
    for style, kind_index in enumerate(order):
        kind, _, brands, path, size_codes, width_codes, low, high = kinds[kind_index]
        colour = colours[int(rng.integers(len(colours)))]
        name = words.SHOE_NAMES[style % len(words.SHOE_NAMES)]
        product.append(f"{300 + style}{name[:1].upper()}{colour}")
        title.append(f"{name} {kind} in {words.COLOURS[colour].lower()}")
        brand.append(brands[int(rng.integers(len(brands)))])
        category.append(path)
        retail.append(int(rng.integers(low, high)) * 100 - (5 if rng.random() < 0.5 else 0))
        zero_rated.append(kind == "child")
        several.append(kind in ("sock", "lace", "care"))
        first_sku.append(len(sku_style))
        sizes.append(len(size_codes))
        widths.append(len(width_codes))
        for width in width_codes:
            for size in size_codes:
                sku_style.append(style)
                sku_width.append(width)
                sku_size.append(size)

    styles = len(product)
    started = today - YEARS * 365
    carry_over = rng.random(styles) < 0.7
    carry_over[:COMPANY_2_STYLES] = True  # so that there is always a style to buy, in both companies
    launched = np.where(carry_over, started - 400, started + rng.integers(0, YEARS * 365 - 30, styles))
    seasons = [_season(int(day)) if not carry else "CORE" for day, carry in zip(launched, carry_over, strict=True)]
    ever_reduced = rng.random(styles) < 0.35
    reduced_from = np.where(ever_reduced, np.maximum(launched, started) + rng.integers(90, 500, styles), 10**6)
    retail_pence = np.array(retail, dtype=np.int64)
    price = np.stack(
        [
            retail_pence,
            np.maximum(retail_pence * 55 // 6000, 1) * 60,  # divisible by six, so that VAT comes out even
            (retail_pence * 12 // 1000) * 100 + 95,
            (retail_pence * 13 // 1000) * 100 + 99,
        ]
    )
    reduced = price * 7 // 10 // 60 * 60
    weight = 1 / (rng.permutation(styles) + 6.0)
    return Catalogue(
        product=product,
        title=title,
        brand=brand,
        category=category,
        season=seasons,
        launched=launched.astype(np.int64),
        reduced_from=reduced_from.astype(np.int64),
        price=price,
        reduced_price=np.maximum(reduced, 60),
        zero_rated=np.array(zero_rated),
        several=np.array(several),
        popularity=weight,
        first_sku=np.array(first_sku, dtype=np.int64),
        sizes=np.array(sizes, dtype=np.int64),
        widths=np.array(widths, dtype=np.int64),
        sku_style=np.array(sku_style, dtype=np.int64),
        sku_width=sku_width,
        sku_size=sku_size,
    )


def _season(day: int) -> str:
    launched = date.fromordinal(day + date(1970, 1, 1).toordinal())
    half = "SS" if 2 <= launched.month <= 7 else "AW"
    return f"{half}{(launched.year - (half == 'AW' and launched.month == 1)) % 100:02d}"


def catalogue_tables(catalogue: Catalogue, rng: np.random.Generator, now: datetime) -> dict[str, pa.Table]:
    """Company, product, SKU, price, warehouse and accounting period; everything but stock."""
    now_seconds = wall_seconds(now)
    styles = len(catalogue.product)
    style = np.concatenate([np.arange(styles), np.arange(COMPANY_2_STYLES)])
    company = np.repeat([0, 1], [styles, COMPANY_2_STYLES])
    sku_end = int(catalogue.first_sku[COMPANY_2_STYLES])
    sku = np.concatenate([np.arange(catalogue.skus), np.arange(sku_end)])
    sku_company = np.repeat([0, 1], [catalogue.skus, sku_end])
    companies = list(BASE_CURRENCY)

    touched = np.minimum(catalogue.launched[style] * DAY + 9 * 3600, now_seconds)
    address = pick([f"https://www.{words.OWN_DOMAIN}/" + code.lower() for code in catalogue.product], style)
    tables = {
        "company": table(
            "company",
            2,
            company=pa.array(companies),
            name=pa.array(["Harrowby Shoes Ltd", "Harrowby Shoes (Ireland) Ltd"]),
            base_currency=pa.array(list(BASE_CURRENCY.values())),
            country=pa.array(["GB", "IE"]),
            changed_at=stamps(np.full(2, now_seconds - YEARS * 366 * DAY)),
        ),
        "product": table(
            "product",
            len(style),
            company=pick(companies, company),
            product=pick(catalogue.product, style),
            title=pick(catalogue.title, style),
            description=pick([f"{title}, made to last." for title in catalogue.title], style),
            brand=pick(catalogue.brand, style),
            category=pick(catalogue.category, style),
            season=pick(catalogue.season, style),
            link=address,
            image=pick([f"https://img.{words.OWN_DOMAIN}/{code.lower()}.jpg" for code in catalogue.product], style),
            is_merchandise=flags(np.ones(len(style), dtype=bool)),
            changed_at=stamps(touched),
        ),
        "sku": table(
            "sku",
            len(sku),
            company=pick(companies, sku_company),
            product=pick(catalogue.product, catalogue.sku_style[sku]),
            **catalogue.matrix(sku),
            barcode=pick([_ean(index) for index in range(catalogue.skus)], sku),
            colour=pick([words.COLOURS[code[-2:]] for code in catalogue.product], catalogue.sku_style[sku]),
            size=pick([_size_in_words(code) for code in catalogue.sku_size], sku),
            width=pick([WIDTH_NAMES[code] for code in catalogue.sku_width], sku),
            is_discontinued=flags(rng.random(len(sku)) < 0.02),
            changed_at=stamps(np.minimum(catalogue.launched[catalogue.sku_style[sku]] * DAY + 32_400, now_seconds)),
        ),
        "price": _prices(catalogue, now_seconds),
        "warehouse": table(
            "warehouse",
            len(WAREHOUSES),
            company=pa.array([w[0] for w in WAREHOUSES]),
            warehouse=pa.array([w[1] for w in WAREHOUSES]),
            name=pa.array([w[2] for w in WAREHOUSES]),
            is_sellable=pa.array([w[3] for w in WAREHOUSES]),
            changed_at=stamps(np.full(len(WAREHOUSES), now_seconds - YEARS * 366 * DAY)),
        ),
    }

    months = [(now.year * 12 + now.month - 1) - back for back in range(YEARS * 12 + 1, -2, -1)]
    starts = np.array([day_number(date(m // 12, m % 12 + 1, 1)) for m in [*months, months[-1] + 1]])
    first, following = starts[:-1], starts[1:]
    closed_at = (following + 7) * DAY + 17 * 3600
    closed = closed_at <= now_seconds
    periods = [f"{m // 12}-{m % 12 + 1:02d}" for m in months]
    tables["accounting_period"] = table(
        "accounting_period",
        2 * len(months),
        company=pick(companies, np.repeat([0, 1], len(months))),
        period=pa.array(periods * 2),
        starts_on=dates(np.tile(first, 2)),
        ends_on=dates(np.tile(following - 1, 2)),
        status=pick(["Open", "Closed"], np.tile(closed, 2).astype(int)),
        closed_at=stamps(np.tile(np.where(closed, closed_at, -1), 2)),
        changed_at=stamps(np.tile(np.where(closed, closed_at, np.minimum(first * DAY, now_seconds)), 2)),
    )
    return tables


def _prices(catalogue: Catalogue, now_seconds: int) -> pa.Table:
    styles = len(catalogue.product)
    rows: list[tuple[int, int, int, int]] = []  # company, list, style, reduced
    for company, count in ((0, styles), (1, COMPANY_2_STYLES)):
        for price_list in range(len(PRICE_LISTS)):
            for style in range(count):
                rows.append((company, price_list, style, 0))
                if catalogue.reduced_from[style] * DAY <= now_seconds:
                    rows.append((company, price_list, style, 1))
    company, price_list, style, reduced = np.array(rows).T
    full = catalogue.price[price_list, style]
    valid_from = np.where(reduced == 1, catalogue.reduced_from[style], catalogue.launched[style])
    empty = const("", len(rows))
    return table(
        "price",
        len(rows),
        company=pick(list(BASE_CURRENCY), company),
        price_list=pick(PRICE_LISTS, price_list),
        product=pick(catalogue.product, style),
        matrix_1=empty,
        matrix_2=empty,
        matrix_3=empty,
        matrix_4=empty,
        valid_from=dates(valid_from),
        currency=pick(LIST_CURRENCIES, price_list),
        price_incl_vat=money(np.where(reduced == 1, catalogue.reduced_price[price_list, style], full)),
        full_price_incl_vat=money(full),
        changed_at=stamps(np.minimum(valid_from * DAY + 18_000, now_seconds)),
    )


def stock_table(catalogue: Catalogue, rng: np.random.Generator, now: datetime, open_units: Ints) -> pa.Table:
    """Stock of every SKU. `open_units[warehouse, sku]` is what open orders still wait for: it is allocated.

    About a tenth of the SKUs is sold out, most of those with the day on which more is expected (sometimes in the past,
    sometimes a far placeholder). The shop keeps one of every fifth SKU back for its window.
    """
    parts = []
    today = day_number(now.date())
    now_seconds = wall_seconds(now)
    sku_end = int(catalogue.first_sku[COMPANY_2_STYLES])
    for index, (company, warehouse, _, _) in enumerate(WAREHOUSES):
        count = sku_end if company == "2" else catalogue.skus
        sku = np.arange(count)
        allocated = open_units[index, :count]
        on_shelf = rng.negative_binomial(1, 0.06 if warehouse == "MAIN" else 0.4, count)
        if warehouse == "QC":
            on_shelf = np.where(rng.random(count) < 0.05, rng.integers(1, 4, count), 0)
        sold_out = (rng.random(count) < 0.1) & (warehouse != "QC")
        physical = allocated + np.where(sold_out, 0, on_shelf)
        held = np.where(rng.random(count) < 0.04, np.minimum(physical - allocated, 2), 0)
        expected = np.where(rng.random(count) < 0.1, today + 900, today + rng.integers(-40, 90, count))
        parts.append(
            table(
                "stock",
                count,
                company=const(company, count),
                warehouse=const(warehouse, count),
                product=pick(catalogue.product, catalogue.sku_style[sku]),
                **catalogue.matrix(sku),
                physical=pa.array(physical),
                allocated=pa.array(allocated),
                held=pa.array(held),
                buffer=pa.array(np.where(sku % 5 == 0, 1, 0), mask=np.full(count, warehouse != "SHOP")),
                expected_on=dates(expected, mask=~(sold_out & (rng.random(count) < 0.7))),
                changed_at=stamps(now_seconds - rng.integers(0, 40 * DAY, count)),
            )
        )
    return pa.concat_tables(parts)


def _ean(index: int) -> str:
    digits = f"2000{index:08d}"  # numbers that begin with 2 are for a shop's own use
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits))
    return digits + str(-total % 10)


def _size_in_words(code: str) -> str:
    if len(code) == 3 and code.isdigit():
        return f"{int(code) / 10:g}"
    return {"MEDM": "Medium", "LRGE": "Large", "ONE": "One size"}.get(code, code.replace("IN", " inch"))
