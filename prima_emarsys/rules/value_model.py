"""How often somebody will buy again and what it will be worth: BG/NBD and Gamma-Gamma, by maximum likelihood.

BG/NBD (Fader, Hardie and Lee 2005, "Counting your customers the easy way"): while alive, a person buys at a rate of
their own, and after each purchase may leave for good. Rates differ between persons as a gamma (r, alpha), the chance to
leave as a beta (a, b) distribution. Gamma-Gamma (Fader and Hardie 2013): what a purchase is worth differs around a mean
of the person's own; these means differ between persons. It takes worth and frequency to be unrelated.

A history is (x, t_x, T, z): repeat purchases (the first one is not counted), weeks from the first purchase to the last,
weeks from the first purchase to the end of observation, mean worth of a repeat purchase. Here are functions of arrays
of these only; how they come out of the signed ledger belongs to `purchase_history`. A forecast is an estimate: it is
computed in floating point, and becomes money again where it is rounded to the penny.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import digamma, expit, gammaln, hyp2f1

Array = NDArray[np.float64]
WEEKS_A_YEAR = 365 / 7
_FLAT = 1e-3
"""The most by which a person's mean log-likelihood may still rise with the log of a parameter where the search ends."""


class NotFitted(Exception):
    """The data do not say what the parameters are. The message says why; there is no forecast then."""


@dataclass(frozen=True)
class Buying:
    """A fitted BG/NBD model. `alpha` in weeks."""

    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float


@dataclass(frozen=True)
class Spending:
    """A fitted Gamma-Gamma model. `v` in units of money; a population mean exists, as q is above 1."""

    p: float
    q: float
    v: float
    log_likelihood: float

    @property
    def population_mean(self) -> float:
        """What a purchase of somebody unknown is worth."""
        return self.p * self.v / (self.q - 1)


# -- how often -------------------------------------------------------------------------------------------------------


def buying_log_likelihood(parameters: Array, x: Array, t_x: Array, age: Array) -> tuple[Array, Array]:
    """BG/NBD log-likelihood of each history, and its slopes in (r, alpha, a, b), one row a parameter."""
    r, alpha, a, b = parameters
    again = x > 0
    until_end, until_last = np.log(alpha + age), np.log(alpha + t_x)
    b_left = np.where(again, b + x - 1, 1.0)
    alive = -(r + x) * until_end
    gone = np.where(again, np.log(a) - np.log(b_left) - (r + x) * until_last, -np.inf)
    either = np.logaddexp(alive, gone)
    value = (
        gammaln(r + x) - gammaln(r) + r * np.log(alpha)
        + gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x)
        + either
    )  # fmt: skip
    is_alive, is_gone = np.exp(alive - either), np.exp(gone - either)
    slopes = np.stack(
        [
            digamma(r + x) - digamma(r) + np.log(alpha) - is_alive * until_end - is_gone * until_last,
            r / alpha - (r + x) * (is_alive / (alpha + age) + is_gone / (alpha + t_x)),
            digamma(a + b) - digamma(a + b + x) + is_gone / a,
            digamma(a + b) - digamma(a + b + x) + digamma(b + x) - digamma(b) - is_gone / b_left,
        ]
    )
    return value, slopes


def fit_buying(x: Array, t_x: Array, age: Array) -> Buying:
    """The BG/NBD model that makes these histories most likely. Raises `NotFitted`."""
    if not (x > 0).any():
        raise NotFitted("nobody has bought again")
    weeks = np.sort(age).mean()
    limits = {"r": (1e-4, 1e2), "alpha": (1e-4 * weeks, 1e3 * weeks), "a": (1e-4, 1e2), "b": (1e-4, 1e4)}
    starts = [[0.5, 0.3 * weeks, 0.8, 2.5], [1.0, weeks, 1.0, 1.0], [0.2, 0.05 * weeks, 0.1, 5.0]]
    (r, alpha, a, b), likelihood = _most_likely(buying_log_likelihood, limits, starts, x, t_x, age)
    return Buying(r, alpha, a, b, likelihood)


def probability_alive(model: Buying, x: Array, t_x: Array, age: Array) -> Array:
    """Chance that the person has not left. The model lets nobody leave before a repeat purchase: 1 without any."""
    again = x > 0
    odds = (
        np.log(model.a) - np.log(np.where(again, model.b + x - 1, 1.0))
        + (model.r + x) * (np.log(model.alpha + age) - np.log(model.alpha + t_x))
    )  # fmt: skip
    return np.where(again, expit(-odds), 1.0)


def expected_purchases(model: Buying, x: Array, t_x: Array, age: Array, weeks: float) -> Array:
    """Purchases to be expected in the `weeks` after the end of observation. (0, 0, 0) is somebody unknown.

    The paper's equation 10, with its 2F1 turned by Euler's transformation: nothing in it grows with x, so that it
    neither overflows nor loses its digits for those who buy most.
    """
    r, a, b = model.r, model.a, model.b
    if abs(a - 1) < 1e-5:  # a removable singularity
        a = 1 + 1e-5
    start = model.alpha + age
    shape = hyp2f1(a + b - 1 - r, a - 1, a + b + x - 1, weeks / (start + weeks))
    growth = 1 - (start / (start + weeks)) ** (a - 1) * shape
    return (a + b + x - 1) / (a - 1) * growth * probability_alive(model, x, t_x, age)


# -- for how much ----------------------------------------------------------------------------------------------------


def spending_log_likelihood(parameters: Array, x: Array, mean: Array) -> tuple[Array, Array]:
    """Gamma-Gamma log-likelihood of each repeat buyer's mean, and its slopes in (p, q, v), one row a parameter."""
    p, q, v = parameters
    total = np.log(x * mean + v)
    value = (
        gammaln(p * x + q) - gammaln(p * x) - gammaln(q)
        + q * np.log(v) + (p * x - 1) * np.log(mean) + p * x * np.log(x) - (p * x + q) * total
    )  # fmt: skip
    slopes = np.stack(
        [
            x * (digamma(p * x + q) - digamma(p * x) + np.log(mean) + np.log(x) - total),
            digamma(p * x + q) - digamma(q) + np.log(v) - total,
            q / v - (p * x + q) / (x * mean + v),
        ]
    )
    return value, slopes


def fit_spending(x: Array, mean: Array) -> Spending:
    """The Gamma-Gamma model that makes these means most likely; all x and means above 0. Raises `NotFitted`."""
    if len(x) == 0:
        raise NotFitted("nobody has bought again")
    if np.ptp(mean) == 0:
        raise NotFitted("all repeat purchases are worth the same")
    worth = np.sort(mean).mean()
    limits = {"p": (1e-3, 1e4), "q": (1e-3, 1e4), "v": (1e-5 * worth, 1e5 * worth)}
    starts = [[6.0, 4.0, 0.5 * worth], [1.0, 2.0, worth], [20.0, 10.0, 0.5 * worth]]
    (p, q, v), likelihood = _most_likely(spending_log_likelihood, limits, starts, x, mean)
    if q <= 1:
        raise NotFitted(f"worth differs so much between persons that it has no mean (q = {q:.3g})")
    return Spending(p, q, v, likelihood)


def expected_worth(model: Spending, x: Array, mean: Array) -> Array:
    """What a purchase to come is worth: the person's own mean, drawn to everybody's the less they have bought."""
    return model.p * (model.v + x * mean) / (model.p * x + model.q - 1)


# -- together --------------------------------------------------------------------------------------------------------


def forecast(
    buying: Buying, spending: Spending, x: Array, t_x: Array, age: Array, mean: Array, weeks: float
) -> tuple[Array, Array, Array]:
    """Purchases to be expected within `weeks`, what they are worth together, and the chance that the person is alive.

    `mean` is 0 where x is. Not discounted.
    """
    purchases = expected_purchases(buying, x, t_x, age, weeks)
    return purchases, purchases * expected_worth(spending, x, mean), probability_alive(buying, x, t_x, age)


def doubts(buying: Buying, spending: Spending, observed_mean: float) -> list[str]:
    """Why a model is not to be believed, though it is the most likely one; nothing for a sound one.

    Bounds that no shop meets: while they are customers, persons buy less than once in fifty years or more than once a
    day; all or none leave after a purchase; the model's mean worth is not within half and double of `observed_mean`.
    """
    found = []
    numbers = [buying.r, buying.alpha, buying.a, buying.b, spending.p, spending.q, spending.v]
    if not (np.isfinite(numbers).all() and min(numbers) > 0):
        return ["a parameter is no positive number"]
    a_year = buying.r / buying.alpha * WEEKS_A_YEAR
    if not 0.02 <= a_year <= 365:
        found.append(f"customers would buy {a_year:.3g} times a year")
    leaving = buying.a / (buying.a + buying.b)
    if not 0.001 <= leaving <= 0.999:
        found.append(f"{leaving:.2%} would leave after a purchase")
    if spending.q <= 1 or not 0.5 <= spending.population_mean / observed_mean <= 2:
        found.append(f"a purchase would be worth {spending.population_mean:,.2f}, and is {observed_mean:,.2f} so far")
    return found


# -- fitting ---------------------------------------------------------------------------------------------------------


def _most_likely(
    log_likelihood: Callable[..., tuple[Array, Array]],
    limits: Mapping[str, tuple[float, float]],
    starts: Sequence[Sequence[float]],
    *data: Array,
) -> tuple[list[float], float]:
    """Parameters of the greatest log-likelihood, and that. The search is on their logarithms, within `limits`.

    Persons who are all alike make two parameters grow together without end, and the likelihood flat: then the limit is
    as good as any. Where it is not flat at a limit, there is no maximum, and `NotFitted` says so.

    Equal rows are counted and sorted first: that is faster, and the order of persons moves no digit.
    """
    rows, counts = np.unique(np.stack(data), axis=1, return_counts=True)
    persons = counts.sum()

    def cost(logs: Array) -> tuple[float, Array]:
        parameters = np.exp(logs)
        value, slopes = log_likelihood(parameters, *rows)
        return -(counts @ value) / persons, -(slopes @ counts) * parameters / persons

    bounds = np.log(list(limits.values()))
    options = {"maxiter": 1_000, "ftol": 1e-15, "gtol": 1e-9}
    found = [
        minimize(cost, np.log(start), jac=True, method="L-BFGS-B", bounds=bounds, options=options) for start in starts
    ]
    best = min(found, key=lambda one: one.fun if np.isfinite(one.fun) else np.inf)
    steep = np.abs(cost(best.x)[1]) > _FLAT
    if steep.any() or not np.isfinite(best.fun):
        names = " and ".join(name for name, is_steep in zip(limits, steep, strict=True) if is_steep)
        raise NotFitted(f"the likelihood has no maximum that the search could reach: {names} would go on without end")
    return [float(one) for one in np.exp(best.x)], float(-best.fun * persons)
