"""Judging rows together gives what judging each by itself gives."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prima_emarsys.sandbox.emarsys.columns import NUMBER, NUMBER_OR_NONE, TEXT, judge, scaled

KINDS = {"order": TEXT, "price": NUMBER, "f_net": NUMBER_OR_NONE, "quantity": NUMBER}
PLACES = {"price": 0, "order": 1, "f_net": 2}


def build(columns: dict[str, list[Any]]) -> list[tuple[Any, ...]]:
    return list(zip(columns["order"], columns["price"], columns["f_net"], strict=True))


@given(
    st.lists(st.tuples(st.sampled_from(["1", "x", ""]), st.sampled_from(["A", ""]), st.sampled_from(["", "2.5", "y"])))
)
def test_rows_are_judged_together_as_one_by_one(rows: list[tuple[str, ...]]) -> None:
    together = judge(KINDS, PLACES, build, rows)
    assert together == [one for row in rows for one in judge(KINDS, PLACES, build, [row])]
    assert [isinstance(one, str) for one in together] == [
        price != "1" or order == "" or net == "y" for price, order, net in rows
    ]


@given(st.decimals("-99999999999999", "99999999999999", places=4))
def test_an_amount_is_kept_to_the_ten_thousandth(amount: Decimal) -> None:
    assert Decimal(scaled(f"{amount:f}")).scaleb(-4) == amount


@pytest.mark.parametrize(
    "text", ["", "1.", ".5", "+1", "1.00001", " 1", "1e3", "NaN", "Infinity", "1,5", "\u0661", "--1"]
)
def test_what_is_no_plain_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the reason is worded by the column's kind)
        scaled(text)
