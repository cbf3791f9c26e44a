"""The CDNOW data, on which the models were published: a tenth of the customers who began in early 1997.

It comes with the package `lifetimes`, whose own loading functions need a module that setuptools no longer has.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

END = date(1997, 9, 30)
"""The last day of the 39 weeks that the published models were fitted on."""


def _lines(name: str) -> list[str]:
    return (files("lifetimes") / "datasets" / name).read_text("ascii").splitlines()


def summary() -> NDArray[np.float64]:
    """x, t_x and T in weeks, and mean worth, as published: four rows of 2,357 customers, in the order of their ids."""
    rows = [line.split(",")[1:] for line in _lines("cdnow_customers_summary_with_transactions.csv")[1:]]
    return np.array(rows, dtype=np.float64).T


def purchases() -> list[tuple[str, date, Decimal]]:
    """The log of all purchases, 78 weeks: customer, day, dollars."""
    fields = [line.split() for line in _lines("CDNOW_sample.txt") if line]
    return [
        (who, datetime.strptime(day, "%Y%m%d").date(), Decimal(dollars))  # noqa: DTZ007 (a day has no zone)
        for _, who, day, _, dollars in fields
    ]
