"""`core/availability`: what can be sold now, since when, and what came back."""

import dagster as dg

from prima_emarsys.defs.checks import checks_of
from prima_emarsys.defs.core.assets import StepConfig
from prima_emarsys.defs.resources import ProjectResource
from prima_emarsys.defs.showing import check_result, described_columns, flow, steps
from prima_emarsys.steps.availability import available_over_time
from prima_emarsys.steps.verdicts import availability_follows


@dg.asset(
    key=["core", "availability"],
    group_name="core",
    kinds={"ibis"},
    owners=["team:marketing"],
    pool="warehouse",
    deps=[["prima", "stock"]],
    description="Whether each SKU can be sold, and since when. Two limits of the site file keep a single unit that "
    "comes and goes from flickering. What was out and is available is back in stock, once each time; a SKU that nobody "
    "knew is not back. The day of more is told while it lies ahead.",
    metadata={
        "dagster/column_schema": described_columns(
            [
                ("sku", "code", "Style and matrix codes, as in sales data."),
                ("available", "integer", "Units that can be sold, over all sellable warehouses."),
                ("is_available", "flag", "Whether it counts as available."),
                ("expected_on", "date", "Day on which more is expected, if it lies ahead."),
                ("since", "timestamp", "When it became available, or out; empty if it was so when first seen."),
            ]
        )
    },
    check_specs=checks_of("core/availability"),
)
def availability(config: StepConfig, project: ProjectResource) -> dg.MaterializeResult:
    """Follow the SKUs that moved."""
    with project.open() as opened, opened.warehouse() as warehouse:
        result = opened.availability(whole=config.whole)
        follows = availability_follows(warehouse)
        # Dagster keeps every picture for ever, so it is drawn once a day; it plots the numbers of each run itself.
        history = available_over_time(warehouse) if result.whole else []
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": result.skus,
            **flow(read=result.computed, changed=result.changed, unchanged=result.skus - result.changed),
            "SKUs available": result.available,
            "units available": result.units,
            "SKUs expected": result.expected,
            "back in stock": result.back,
            "gone out": result.out,
            "whole": result.whole,
            **({"available SKUs over time": steps("SKUs with something to sell", history)} if history else {}),
        },
        check_results=[check_result("follows_stock", follows)],
    )
