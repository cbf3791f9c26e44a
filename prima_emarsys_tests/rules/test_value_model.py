"""The models against what was published, against another implementation, and against the definition by quadrature."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import check_grad
from scipy.stats import beta

from prima_emarsys.rules import value_model as model
from prima_emarsys.rules.value_model import Buying, NotFitted, Spending
from prima_emarsys_tests.rules import cdnow

Array = NDArray[np.float64]
MANUAL = Buying(r=0.2425982, alpha=4.4136842, a=0.7929899, b=2.4261667, log_likelihood=-9582.429)
"""The parameters in the manual of the R package BTYD."""


@pytest.fixture(autouse=True)
def _no_number_goes_astray() -> Iterator[None]:
    """Overflow, division by zero and the like are errors here."""
    with warnings.catch_warnings(), np.errstate(over="raise", divide="raise", invalid="raise"):
        warnings.simplefilter("error", RuntimeWarning)
        yield


@pytest.fixture(scope="module")
def published() -> Array:
    return cdnow.summary()


@pytest.fixture(scope="module")
def buying(published: Array) -> Buying:
    x, t_x, age, _ = published
    return model.fit_buying(x, t_x, age)


@pytest.fixture(scope="module")
def spending(published: Array) -> Spending:
    x, _, _, mean = published
    return model.fit_spending(x[x > 0], mean[x > 0])


def ask(question: Callable[..., Array], of: Buying | Spending, *person: float, weeks: float | None = None) -> float:
    """One person's figure."""
    more = [] if weeks is None else [weeks]
    [found] = question(of, *(np.array([number]) for number in person), *more)
    return float(found)


# -- as published ----------------------------------------------------------------------------------------------------


def test_bg_nbd_of_cdnow_is_the_published_one(buying: Buying) -> None:
    """Fader, Hardie and Lee 2005: r .243, alpha 4.414, a .793, b 2.426, LL -9582.4."""
    rounded = [round(one, 3) for one in (buying.r, buying.alpha, buying.a, buying.b)]
    assert rounded == [0.243, 4.414, 0.793, 2.426]
    assert round(buying.log_likelihood, 1) == -9582.4
    exact = [buying.r, buying.alpha, buying.a, buying.b, buying.log_likelihood]
    assert exact == pytest.approx([0.242593, 4.413532, 0.792886, 2.425754, -9582.4256], abs=1e-6, rel=1e-8)
    # The manual's were fitted on weeks that are not rounded to two decimals.
    assert exact == pytest.approx([MANUAL.r, MANUAL.alpha, MANUAL.a, MANUAL.b, -9582.429], rel=2e-4)


def test_gamma_gamma_of_cdnow_is_the_published_one(spending: Spending, published: Array) -> None:
    """Fader and Hardie 2013: p 6.25, q 3.74, v 15.44, from 946 repeat buyers."""
    x, _, _, mean = published
    assert (x > 0).sum() == 946
    assert [round(spending.p, 2), round(spending.q, 2)] == [6.25, 3.74]
    assert spending.v == pytest.approx(15.44, abs=0.01)
    exact = [spending.p, spending.q, spending.v, spending.log_likelihood]
    assert exact == pytest.approx([6.248803, 3.744588, 15.447746, -4055.9232], rel=2e-7)
    assert spending.population_mean == pytest.approx(35.1710, abs=5e-5)
    assert mean[x > 0].mean() == pytest.approx(35.0786, abs=5e-5)
    assert np.corrcoef(x[x > 0], mean[x > 0])[0, 1] == pytest.approx(0.114, abs=5e-4)


@pytest.mark.parametrize(
    ("person", "expected"),
    [
        ((2, 30.43, 38.86), 1.22591),
        ((0, 0, 38.86), 0.19478),
        ((1, 1.71, 38.86), 0.20325),
        ((0, 0, 0), 1.19502),  # somebody unknown
    ],
)
def test_orders_within_39_weeks(buying: Buying, person: tuple[float, float, float], expected: float) -> None:
    assert ask(model.expected_purchases, buying, *person, weeks=39) == pytest.approx(expected, abs=5e-6)


def test_the_papers_own_example() -> None:
    """1.226 orders, with the parameters as they are printed."""
    printed = Buying(0.243, 4.414, 0.793, 2.426, -9582.4)
    assert ask(model.expected_purchases, printed, 2, 30.43, 38.86, weeks=39) == pytest.approx(1.22603, abs=5e-6)


def test_the_papers_customer_is_alive_with_73_per_cent(buying: Buying) -> None:
    assert ask(model.probability_alive, buying, 2, 30.43, 38.86) == pytest.approx(0.72661, abs=5e-6)


def test_the_r_packages_examples(buying: Buying) -> None:
    assert ask(model.expected_purchases, MANUAL, 0, 0, 0, weeks=52) == pytest.approx(1.444004, abs=1e-6)
    assert ask(model.expected_purchases, buying, 0, 0, 0, weeks=52) == pytest.approx(1.44402, abs=5e-6)
    customer_1516 = (26, 30 + 6 / 7, 31)
    # The manual says 25.75659 and 0.9688523, from parameters with more digits than it prints.
    assert ask(model.expected_purchases, MANUAL, *customer_1516, weeks=52) == pytest.approx(25.75654, abs=5e-6)
    assert ask(model.probability_alive, MANUAL, *customer_1516) == pytest.approx(0.9688522, abs=1e-7)


@pytest.mark.parametrize(("person", "worth"), [((2, 22.35), 24.6586), ((1, 11.77), 18.9115), ((7, 73.74), 71.4629)])
def test_worth_of_an_order_to_come(spending: Spending, person: tuple[float, float], worth: float) -> None:
    assert ask(model.expected_worth, spending, *person) == pytest.approx(worth, abs=5e-5)


def test_worth_of_an_order_of_somebody_who_never_bought_again_is_everybodys(spending: Spending) -> None:
    assert ask(model.expected_worth, spending, 0, 0) == pytest.approx(spending.population_mean)


# -- against another implementation ----------------------------------------------------------------------------------


def simulated(seed: int, persons: int = 800) -> Array:
    """x, t_x, T and mean worth of a shop that is as the models say, with parameters at random."""
    random = np.random.default_rng(seed)
    r, alpha, a, b = random.uniform([0.3, 3, 0.5, 1.5], [2, 20, 2, 5])
    p, q, v = random.uniform([2, 3, 10], [8, 6, 40])
    age = np.round(random.uniform(20, 150, persons) * 7) / 7
    rate, leaving = random.gamma(r, 1 / alpha, persons), random.beta(a, b, persons)
    stay = random.geometric(leaving)
    x, t_x = np.zeros(persons), np.zeros(persons)
    for one in range(persons):
        times = np.cumsum(random.exponential(1 / rate[one], min(stay[one], 5_000)))
        times = times[times <= age[one]]
        x[one], t_x[one] = len(times), times[-1] if len(times) else 0
    worth = random.gamma(np.maximum(p * x, p), 1 / random.gamma(q, 1 / v, persons)) / np.maximum(x, 1)
    return np.stack([x, t_x, age, np.where(x > 0, np.round(worth, 2) + 0.01, 0)])


@pytest.mark.parametrize("seed", range(4))
def test_lifetimes_says_the_same_of_random_data(seed: int) -> None:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        from lifetimes import BetaGeoFitter, GammaGammaFitter

        x, t_x, age, mean = simulated(seed)
        again = x > 0
        theirs = BetaGeoFitter().fit(x, t_x, age)
        their_worth = GammaGammaFitter().fit(x[again], mean[again])
        orders = np.asarray(theirs.conditional_expected_number_of_purchases_up_to_time(52, x, t_x, age))
        alive = np.asarray(theirs.conditional_probability_alive(x, t_x, age))
        worth = np.asarray(their_worth.conditional_expected_average_profit(x, mean))
    buying, spending = model.fit_buying(x, t_x, age), model.fit_spending(x[again], mean[again])
    assert [buying.r, buying.alpha, buying.a, buying.b] == pytest.approx(list(theirs.params_), rel=2e-3)
    assert [spending.p, spending.q, spending.v] == pytest.approx(list(their_worth.params_), rel=2e-3)
    # Each at the same parameters, so that the formulas are compared and not the searches.
    same = Buying(*theirs.params_, log_likelihood=0.0)
    np.testing.assert_allclose(model.expected_purchases(same, x, t_x, age, 52), orders, rtol=1e-6)
    np.testing.assert_allclose(model.probability_alive(same, x, t_x, age), alive, rtol=1e-9)
    same_worth = Spending(*their_worth.params_, log_likelihood=0.0)
    np.testing.assert_allclose(model.expected_worth(same_worth, x, mean), worth, rtol=1e-9)
    # Ours is at least as likely as theirs.
    at_theirs, _ = model.buying_log_likelihood(np.array(theirs.params_), x, t_x, age)
    assert buying.log_likelihood >= at_theirs.sum() - 1e-6
    at_theirs, _ = model.spending_log_likelihood(np.array(their_worth.params_), x[again], mean[again])
    assert spending.log_likelihood >= at_theirs.sum() - 1e-6


# -- against the definition ------------------------------------------------------------------------------------------


def by_quadrature(buying: Buying, x: float, t_x: float, age: float, weeks: float) -> float:
    """A person who is alive buys, given a rate and a chance p to leave, (1 - exp(-rate p weeks)) / p times: its mean
    over the gamma of the rate is taken by hand, that over the beta of p by quadrature."""
    shape, start = buying.r + x, buying.alpha + age

    def given(p: float) -> float:
        return -np.expm1(-shape * np.log1p(p * weeks / start)) / p if p > 1e-250 else shape * weeks / start

    mean, _ = quad(lambda share: given(beta.ppf(share, buying.a, buying.b + x)), 0, 1, limit=200, epsrel=1e-8)
    return mean * ask(model.probability_alive, buying, x, t_x, age)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"a": 1.0},
        {"a": 1 + 1e-7},
        {"a": 1 - 2e-5},
        {"a": 100.0, "b": 1_400.0},  # all leave with one chance
        {"a": 0.2, "b": 0.3},  # some at once, some never
        {"a": 1e-4, "b": 10.0},  # hardly anybody leaves
        {"r": 100.0, "alpha": 500.0},  # all buy at one rate
        {"r": 0.02, "alpha": 0.05},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "person", [(0, 0, 0), (0, 0, 400), (1, 0.5, 400), (5, 60, 60), (3_000, 399, 400)], ids=lambda one: f"x={one[0]}"
)
def test_expected_orders_are_right_where_formulas_break(
    changed: dict[str, float], person: tuple[float, float, float]
) -> None:
    buying = replace(MANUAL, **changed)
    expected = by_quadrature(buying, *person, weeks=52)
    found = ask(model.expected_purchases, buying, *person, weeks=52)
    assert found == pytest.approx(expected, rel=3e-5, abs=1e-12)


def test_the_slopes_are_those_of_the_likelihoods(published: Array) -> None:
    x, t_x, age, mean = published[:, ::40]
    again = x > 0

    def check(likelihood: Callable, data: list[Array], at: list[float]) -> float:
        return check_grad(
            lambda parameters: likelihood(parameters, *data)[0].sum(),
            lambda parameters: likelihood(parameters, *data)[1].sum(axis=1),
            np.array(at),
        )

    assert check(model.buying_log_likelihood, [x, t_x, age], [0.4, 6.0, 0.6, 3.0]) < 1e-3
    assert check(model.spending_log_likelihood, [x[again], mean[again]], [5.0, 4.0, 12.0]) < 1e-3


def test_the_order_of_persons_moves_no_digit(published: Array) -> None:
    published = published[:, ::4]
    shuffled = np.random.default_rng(1).permutation(published, axis=1)
    fits = []
    for x, t_x, age, mean in (published, shuffled):
        fits.append((model.fit_buying(x, t_x, age), model.fit_spending(x[x > 0], mean[x > 0])))
    assert fits[0] == fits[1]


# -- where there is nothing to say -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("persons", "why"),
    [
        ([], "nobody has bought again"),
        ([(0, 0, 20)] * 50, "nobody has bought again"),
        ([(3, 10, 20)], "the likelihood has no maximum .*: r and a would go on"),
        ([(3, 10, 20)] * 100, "the likelihood has no maximum .*: r and a would go on"),
        ([(1, 1 / 7, 1 / 7)] * 100, "the likelihood has no maximum .*: r would go on"),
    ],
    ids=["nobody", "no repeat buyer", "one person", "all persons alike", "all bought today"],
)
def test_orders_that_no_model_fits_are_said_to_be_so(persons: list[tuple[float, ...]], why: str) -> None:
    x, t_x, age = np.array(persons, dtype=float).reshape(-1, 3).T
    with pytest.raises(NotFitted, match=why):
        model.fit_buying(x, t_x, age)


def _wild() -> list[tuple[float, float]]:
    random = np.random.default_rng(1)
    return [(2, one) for one in random.gamma(6, 1 / random.gamma(0.5, 1, 500))]


@pytest.mark.parametrize(
    ("persons", "why"),
    [
        ([], "nobody has bought again"),
        ([(3, 10)], "all repeat purchases are worth the same"),
        ([(3, 10), (1, 10)], "all repeat purchases are worth the same"),
        (_wild(), r"worth differs so much between persons that it has no mean \(q = 0.5"),
    ],
    ids=["nobody", "one person", "no variance", "no mean"],
)
def test_worth_that_no_model_fits_is_said_to_be_so(persons: list[tuple[float, ...]], why: str) -> None:
    x, mean = np.array(persons, dtype=float).reshape(-1, 2).T
    with pytest.raises(NotFitted, match=why):
        model.fit_spending(x, mean)


def test_persons_who_all_leave_with_the_same_chance_have_a_model() -> None:
    """Their a and b grow together without end, and say less and less: any large ones will do."""
    random = np.random.default_rng(7)
    x = np.minimum(random.geometric(0.1, 500), 40).astype(float)
    gap = random.gamma(2, 2, 500)
    found = model.fit_buying(x, x * gap, x * gap + random.uniform(0, 80, 500))
    assert found.a / (found.a + found.b) == pytest.approx(0.1, abs=0.02)
    assert found.a > 20


# -- what is not to be believed --------------------------------------------------------------------------------------


def test_a_sound_model_raises_no_doubt(buying: Buying, spending: Spending) -> None:
    assert model.doubts(buying, spending, 35.08) == []


@pytest.mark.parametrize(
    ("buys", "spends", "observed", "doubt"),
    [
        ({"r": float("nan")}, {}, 35, "no positive number"),
        ({"a": -1.0}, {}, 35, "no positive number"),
        ({"r": 50.0}, {}, 35, "591 times a year"),
        ({"alpha": 1e4}, {}, 35, "0.00126 times a year"),
        ({"a": 1e-4}, {}, 35, "0.00% would leave"),
        ({"b": 1e-4}, {}, 35, "99.99% would leave"),
        ({}, {"q": 0.9}, 35, "would be worth"),
        ({}, {}, 80, "would be worth 35.17, and is 80.00 so far"),
    ],
    ids=str,
)
def test_what_no_shop_meets_raises_doubt(
    buying: Buying, spending: Spending, buys: dict, spends: dict, observed: float, doubt: str
) -> None:
    [found] = model.doubts(replace(buying, **buys), replace(spending, **spends), observed)
    assert doubt in found


def test_a_forecast_puts_the_models_together(buying: Buying, spending: Spending) -> None:
    x, t_x, age, mean = (np.array(one) for one in ([2.0, 0.0], [30.43, 0.0], [38.86, 38.86], [22.35, 0.0]))
    orders, value, alive = model.forecast(buying, spending, x, t_x, age, mean, 39)
    assert list(orders) == pytest.approx([1.22591, 0.19478], abs=5e-6)
    assert list(value) == pytest.approx([1.22591 * 24.6586, 0.19478 * 35.1710], abs=5e-4)
    assert list(alive) == pytest.approx([0.72661, 1.0], abs=5e-6)
