"""`emarsys/predicted_value`: the weekly model of repeat purchases, and what it forecasts for each person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from prima_emarsys.defs.checks import checks_of
from prima_emarsys.defs.resources import ProjectResource
from prima_emarsys.defs.showing import bars, check_result, described_columns, flow, table
from prima_emarsys.steps.predictions import Held, Model, holdout_is_met, model_is_sound


@dg.asset(
    key=["emarsys", "predicted_value"],
    group_name="emarsys",
    kinds={"ibis", "scipy"},
    owners=["team:marketing"],
    pool="warehouse",
    deps=[["core", "persons"], ["core", "sales"]],
    # Before its neighbours: what it touches, they then take in within the same run.
    op_tags={"dagster/priority": "1"},
    description="What each person is expected to buy within twelve months, how much it will be worth, and how likely "
    "it is that they are still a customer: BG/NBD for the number of orders, Gamma-Gamma for their worth. The model is "
    "fitted once a week and then frozen; in between a forecast changes only when the person buys or returns something. "
    "Nobody has a forecast while the history is short (under 26 weeks, or under 100 persons who bought again), nor "
    "has a person who kept nothing. Contacts get the figures in coarse steps, so that a new week changes few of them.",
    metadata={
        "dagster/column_schema": described_columns(
            [
                ("person_key", "code", "The person."),
                ("expected_orders_12m", "decimal(18,4)", "Days with an order to be expected within twelve months."),
                (
                    "expected_value_12m",
                    "decimal(18,2)",
                    "What these are worth, base currency with VAT, net of refunds.",
                ),
                ("probability_alive", "decimal(5,4)", "Chance of being a customer still; 1 until a second order."),
            ]
        )
    },
    check_specs=checks_of("emarsys/predicted_value"),
)
def predicted_value(project: ProjectResource) -> dg.MaterializeResult:
    """Fit the week's model if it is missing, and score everybody."""
    with project.open() as opened:
        result = opened.predict()
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": result.predicted,
            **flow(
                read=result.persons,
                changed=result.changed,
                excluded=result.persons - result.predicted,
                unchanged=max(result.predicted - result.changed, 0),
            ),
            "scored as of": str(result.as_of),
            "fitted by this run": result.fitted,
            **(_model(result.model) if result.model else {}),
        },
        check_results=[
            check_result("model_is_sound", model_is_sound(result), dg.AssetCheckSeverity.WARN),
            check_result("holdout_is_met", holdout_is_met(result.model), dg.AssetCheckSeverity.WARN),
        ],
    )


def _model(model: Model) -> dict[str, Any]:
    buying, spending = model.buying, model.spending
    parameters = [
        ("orders (BG/NBD)", "r", f"{buying.r:.4g}"),
        ("", "alpha, in weeks", f"{buying.alpha:.4g}"),
        ("", "a", f"{buying.a:.4g}"),
        ("", "b", f"{buying.b:.4g}"),
        ("", "log-likelihood", f"{buying.log_likelihood:,.2f}"),
        ("worth (Gamma-Gamma)", "p", f"{spending.p:.4g}"),
        ("", "q", f"{spending.q:.4g}"),
        ("", "v, in base currency", f"{spending.v:.4g}"),
        ("", "log-likelihood", f"{spending.log_likelihood:,.2f}"),
    ]
    return {
        "model of": str(model.as_of),
        "fitted on": str(model.fitted_on),
        "persons in the sample": model.persons,
        "of them bought again": model.repeat_buyers,
        "parameters": table(["model", "parameter", ""], parameters),
        **(_calibration(model.holdout, model.holdout_weeks) if model.holdout else {}),
    }


def _calibration(holdout: Sequence[Held], weeks: int) -> dict[str, Any]:
    names = [f"{one.repeats}{'+' if one is holdout[-1] else ''}" for one in holdout]
    rows = [(name, one.persons, round(one.expected), one.actual) for name, one in zip(names, holdout, strict=True)]
    return {
        "calibration": table(["repeat orders before", "persons", f"expected in {weeks} weeks", "actual"], rows),
        "calibration plot": bars(
            f"Orders a person in the last {weeks} weeks, by repeat orders before",
            names,
            {
                "expected": [one.expected / one.persons for one in holdout],
                "actual": [one.actual / one.persons for one in holdout],
            },
        ),
    }
