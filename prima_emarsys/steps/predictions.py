"""`emarsys/predicted_value`: the weekly model of repeat purchases, and what it forecasts for each person.

The parameters are fitted once a week, on the books as they stood on the week's eve, and frozen until the next. Persons
are scored as of that eve, or of their own last purchase if that is later: so a forecast changes when the person buys or
returns something, and once a week, but not because a day has passed. Which of it contacts get is `rules/contacts.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from prima_emarsys.rules.attributes import orders_of_persons
from prima_emarsys.rules.purchase_history import days_of_persons, histories, sample
from prima_emarsys.steps.progress import Progress, differing
from prima_emarsys.steps.verdicts import Verdict
from prima_emarsys.warehouse import Warehouse

# The models need scipy, for which no increment should wait: they are imported by the functions that use them.
if TYPE_CHECKING:
    from prima_emarsys.rules.value_model import Array, Buying, Spending

TABLE, MODELS, HOLDOUTS = "emarsys.predicted_value", "core.value_model", "core.value_model_holdout"
PREDICTED = pa.schema(
    [
        ("person_key", pa.string()),
        ("expected_orders_12m", pa.decimal128(18, 4)),
        ("expected_value_12m", pa.decimal128(18, 2)),
        ("probability_alive", pa.decimal128(5, 4)),
    ]
)
"""Columns of `emarsys.predicted_value`, one row a person; who has no forecast has no row."""

SAMPLE = 50_000
"""Most persons that the parameters are fitted on; a million take a minute more and move the third digit."""
LEAST_REPEAT_BUYERS = 100
"""In simulated shops with 100, the sum of all forecasts was within 30 % of the truth in 19 of 20; with 40, within 50 %;
and with 40 one fit in four found no maximum."""
LEAST_WEEKS = 26
"""Nobody is told of the next twelve months from less than half of that."""
TOLERANCE = 0.25
"""Share by which purchases may differ from those expected; or three standard deviations of chance, if that is more."""
_LONGEST_HOLDOUT = 52
_KEPT = timedelta(weeks=104)
_MOST_REPEATS = 7
"""Persons with so many repeat purchases or more make the last group of a holdout."""

_MODELS = pa.schema(
    [
        ("as_of", pa.date32()),
        ("fitted_on", pa.date32()),
        ("persons", pa.int64()),
        ("repeat_buyers", pa.int64()),
        *((f"buying_{name}", pa.float64()) for name in ("r", "alpha", "a", "b", "log_likelihood")),
        *((f"spending_{name}", pa.float64()) for name in ("p", "q", "v", "log_likelihood")),
        ("mean_worth", pa.float64()),
        ("holdout_weeks", pa.int64()),
    ]
)
_HOLDOUTS = pa.schema(
    [
        ("as_of", pa.date32()),
        ("repeats", pa.int64()),
        ("persons", pa.int64()),
        ("expected", pa.float64()),
        ("actual", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Held:
    """Persons with so many `repeats` before the holdout (the last group: or more), and their purchases in it."""

    repeats: int
    persons: int
    expected: float
    actual: int


@dataclass(frozen=True)
class Model:
    """A week's model. `as_of`: the last day that it knows; `persons`: the sample; `mean_worth`: the mean of what the
    repeat buyers among them spend.

    `holdout` compares a fit on the first part of the history with what happened in the `holdout_weeks` after it; it is
    empty where there is too little history for that.
    """

    as_of: date
    fitted_on: date
    persons: int
    repeat_buyers: int
    buying: Buying
    spending: Spending
    mean_worth: float
    holdout_weeks: int = 0
    holdout: tuple[Held, ...] = ()


@dataclass
class PredictionCounts:
    """Counts of one run. `changed` persons have another forecast than before, or none any more; `fitted`: whether this
    run has fitted the week's model; `unfitted`: why the week has none, `too_little` if only data are lacking."""

    as_of: date
    persons: int = 0
    predicted: int = 0
    changed: int = 0
    fitted: bool = False
    unfitted: str | None = None
    too_little: bool = False
    model: Model | None = None


class TooLittleData(Exception):
    """There is not enough to fit a model on. The message says what there is and what is needed."""


def eve_of_week(today: date) -> date:
    """The Sunday before the week of a day: what the week's model knows. The same for every run of a week."""
    return today - timedelta(days=today.isoweekday())


def predict_value(warehouse: Warehouse, today: date) -> PredictionCounts:
    """Bring `emarsys.predicted_value` up to date for the site's day: everybody is scored, changed rows are written.

    The week's model is fitted if it is missing. If it cannot be, the last one's parameters are used; if there never was
    one, nobody has a forecast.
    """
    from prima_emarsys.rules.value_model import NotFitted

    counts = PredictionCounts(eve_of_week(today))
    links = warehouse.table("core.persons").select("account", "person_key")
    counts.persons = warehouse.count(links.select("person_key").distinct())
    counts.model = _latest(warehouse, counts.as_of)
    if counts.model is None or counts.model.as_of < counts.as_of:
        try:
            counts.model, counts.fitted = _fit(warehouse, links, counts.as_of, today), True
        except (NotFitted, TooLittleData) as error:
            counts.unfitted, counts.too_little = str(error), isinstance(error, TooLittleData)
    scored = warehouse.settle(PREDICTED.empty_table())
    if counts.model is not None:
        orders = orders_of_persons(warehouse.table("core.sales"), links)
        known = histories(days_of_persons(orders), counts.as_of)
        parts = [warehouse.settle(part) for part in _forecasts(warehouse, known, counts.model)]
        scored = warehouse.settle(ibis.union(scored, *parts))
    changed = warehouse.settle(differing(scored, warehouse.ensure(TABLE, PREDICTED)))
    with warehouse.transaction():
        if counts.fitted and counts.model is not None:
            _remember(warehouse, counts.model)
        Progress(warehouse).touch(changed)
        warehouse.replace(TABLE, scored.semi_join(changed, "person_key"), gone=changed, on=["person_key"])
    counts.predicted, counts.changed = warehouse.count(scored), warehouse.count(changed)
    return counts


# -- scoring ---------------------------------------------------------------------------------------------------------


_NUMBERS = ("repeats", "recency_days", "age_days", "repeat_cents")
"""Columns of `histories`. Read in their order, so that a sum over persons is the same to the last digit."""


def _arrays(rows: pa.Table) -> tuple[Array, Array, Array, Array]:
    """x, t_x and T in weeks, and the mean worth of repeat purchases (0 without any), of `histories`."""
    x, t_x, age, cents = (rows[name].to_numpy().astype(np.float64) for name in _NUMBERS)
    return x, t_x / 7, age / 7, np.divide(cents / 100, x, out=np.zeros_like(x), where=x > 0)


def _forecasts(warehouse: Warehouse, known: ir.Table, model: Model) -> Iterator[pa.Table]:
    """Forecasts (`PREDICTED`) for the given histories, in bounded parts."""
    from prima_emarsys.rules.value_model import WEEKS_A_YEAR, forecast

    for rows in warehouse.batches(known):
        found = forecast(model.buying, model.spending, *_arrays(rows), WEEKS_A_YEAR)
        rounded = [
            pa.array(np.round(numbers, column.type.scale)).cast(column.type)
            for numbers, column in zip(found, list(PREDICTED)[1:], strict=True)
        ]
        yield pa.table([rows["person_key"], *rounded], schema=PREDICTED)


# -- fitting ---------------------------------------------------------------------------------------------------------


def _fit(warehouse: Warehouse, links: ir.Table, as_of: date, today: date) -> Model:
    """The model of the books as they stood at the end of a day. Raises `NotFitted`, `TooLittleData`."""
    from prima_emarsys.rules.value_model import NotFitted, doubts, fit_buying, fit_spending

    ledger = warehouse.table("core.sales")
    books = ledger.filter(ledger.posted_on <= as_of, ledger.ordered_on <= as_of)
    days = warehouse.settle(days_of_persons(orders_of_persons(books, links)))
    sampled = warehouse.settle(sample(histories(days, as_of), SAMPLE))
    x, t_x, age, mean = _arrays(warehouse.read(sampled.order_by(*_NUMBERS)))
    _require_enough(x, age)
    again = x > 0
    buying, spending, mean_worth = (
        fit_buying(x, t_x, age),
        fit_spending(x[again], mean[again]),
        mean[again].mean().item(),
    )
    if found := doubts(buying, spending, mean_worth):
        raise NotFitted("; ".join(found))
    weeks = min(int(age.max()) // 3, _LONGEST_HOLDOUT)
    holdout = _hold_out(warehouse, days.semi_join(sampled, "person_key"), as_of, weeks)
    return Model(
        as_of, today, len(x), int(again.sum()), buying, spending, mean_worth, weeks if holdout else 0, tuple(holdout)
    )


def _require_enough(x: Array, age: Array) -> None:
    repeat_buyers, weeks = int((x > 0).sum()), int(age.max(initial=0))
    if repeat_buyers < LEAST_REPEAT_BUYERS or weeks < LEAST_WEEKS:
        raise TooLittleData(
            f"{repeat_buyers:,} persons have bought again within {weeks:,} weeks of history; "
            f"{LEAST_REPEAT_BUYERS} and {LEAST_WEEKS} weeks are needed"
        )


def _hold_out(warehouse: Warehouse, days: ir.Table, as_of: date, weeks: int) -> list[Held]:
    """What a fit without the last `weeks` would have expected of them, against what happened; nothing if it has too
    little data."""
    from prima_emarsys.rules.value_model import NotFitted, expected_purchases, fit_buying

    cut = as_of - timedelta(weeks=weeks)
    later = days.filter(days.day > cut, days.net > 0).group_by("person_key").agg(later=ibis._.count())
    known = histories(days.filter(days.day <= cut), cut).left_join(later, "person_key")
    rows = warehouse.read(known.order_by(*_NUMBERS, "later"))
    x, t_x, age, _ = _arrays(rows)
    try:
        _require_enough(x, age)
        buying = fit_buying(x, t_x, age)
    except (NotFitted, TooLittleData):
        return []
    expected = expected_purchases(buying, x, t_x, age, weeks)
    actual = rows["later"].fill_null(0).to_numpy()
    group = np.minimum(x, _MOST_REPEATS)
    members = [(repeats, group == repeats) for repeats in range(_MOST_REPEATS + 1)]
    return [Held(n, int(m.sum()), expected[m].sum().item(), actual[m].sum().item()) for n, m in members if m.any()]


# -- remembering -----------------------------------------------------------------------------------------------------


def _remember(warehouse: Warehouse, model: Model) -> None:
    """Store a model, and forget those of more than two years ago."""
    stored = {name: warehouse.ensure(name, shape) for name, shape in ((MODELS, _MODELS), (HOLDOUTS, _HOLDOUTS))}
    row = {
        **vars(model),
        **{f"buying_{name}": value for name, value in vars(model.buying).items()},
        **{f"spending_{name}": value for name, value in vars(model.spending).items()},
    }
    held = [{"as_of": model.as_of, **vars(one)} for one in model.holdout]
    warehouse.append(MODELS, pa.Table.from_pylist([row], schema=_MODELS))
    warehouse.append(HOLDOUTS, pa.Table.from_pylist(held, schema=_HOLDOUTS))
    for name, table in stored.items():
        warehouse.delete(name, table.filter(table.as_of < model.as_of - _KEPT).distinct(), on=["as_of"])


def _latest(warehouse: Warehouse, until: date) -> Model | None:
    """The latest model that knows nothing after a day."""
    from prima_emarsys.rules.value_model import Buying, Spending

    models, holdouts = warehouse.ensure(MODELS, _MODELS), warehouse.ensure(HOLDOUTS, _HOLDOUTS)
    found = warehouse.read(models.filter(models.as_of <= until).order_by(ibis.desc("as_of")).limit(1)).to_pylist()
    if not found:
        return None
    [row] = found
    held = warehouse.read(holdouts.filter(holdouts.as_of == row["as_of"]).drop("as_of").order_by("repeats"))

    def taken(prefix: str) -> dict[str, float]:
        return {name.removeprefix(prefix): row.pop(name) for name in list(row) if name.startswith(prefix)}

    return Model(
        buying=Buying(**taken("buying_")),
        spending=Spending(**taken("spending_")),
        **row,
        holdout=tuple(Held(**one) for one in held.to_pylist()),
    )


# -- judging ---------------------------------------------------------------------------------------------------------


def model_is_sound(counts: PredictionCounts) -> Verdict:
    """The week has a model, and it is to be believed. Too little data for a first one is no fault."""
    from prima_emarsys.rules.value_model import WEEKS_A_YEAR, doubts

    model = counts.model
    if model is None:
        return Verdict(counts.too_little, f"Nobody has a forecast: {counts.unfitted}.")
    if counts.unfitted:
        sentence = f"The week has no model: {counts.unfitted}. Parameters of {model.as_of} are used."
        return Verdict(False, sentence)
    if found := doubts(model.buying, model.spending, model.mean_worth):
        return Verdict(False, f"The model is not to be believed: {'; '.join(found)}.")
    buying, spending = model.buying, model.spending
    return Verdict(
        True,
        "The parameters are finite and plausible.",
        {
            "orders a year of an average customer": f"{buying.r / buying.alpha * WEEKS_A_YEAR:.2f}",
            "share that leaves after a repeat order": f"{buying.a / (buying.a + buying.b):.1%}",
            "worth of an order, by the model": f"{spending.population_mean:,.2f}",
            "worth of an order, so far": f"{model.mean_worth:,.2f}",
        },
    )


def holdout_is_met(model: Model | None) -> Verdict:
    """Purchases in the holdout are as many as were expected, within `TOLERANCE`."""
    if model is None or not model.holdout:
        return Verdict(True, "There is too little history to hold a part of it out.")
    expected, actual = sum(one.expected for one in model.holdout), sum(one.actual for one in model.holdout)
    allowed = max(TOLERANCE * actual, 3 * actual**0.5)
    figures = {"weeks held out": model.holdout_weeks, "expected": round(expected), "actual": actual}
    sentence = f"{expected:,.0f} purchases were expected in {model.holdout_weeks} weeks, and {actual:,} came"
    if abs(expected - actual) > allowed:
        return Verdict(False, f"{sentence}: more than {TOLERANCE:.0%} apart.", figures)
    return Verdict(True, f"{sentence}: within {TOLERANCE:.0%}.", figures)
