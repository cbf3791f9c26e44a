"""`emarsys/catalogue`: what can be bought, and what of it can be had now."""

import dagster as dg

from prima_emarsys.defs.checks import blocking_checks, checks_of
from prima_emarsys.defs.gate import refuse_unless_passed
from prima_emarsys.defs.resources import ProjectResource
from prima_emarsys.defs.showing import check_result, counts, described_columns, exceptions, findings_result, flow
from prima_emarsys.rules.catalogue import NO_PRICE
from prima_emarsys.steps.catalogue import LANE
from prima_emarsys.steps.verdicts import Verdict, lane_goes

UPSTREAM_OF_CATALOGUE = ("prima/products", "prima/stock", "core/availability")
"""Everything upstream of `emarsys/catalogue`; a test compares it with the graph."""


@dg.asset(
    key=["emarsys", "catalogue"],
    group_name="emarsys",
    kinds={"ibis", "emarsys"},
    owners=["team:marketing"],
    pool="warehouse",
    deps=[["prima", "products"], ["core", "availability"]],
    description="The product catalogue: one item a SKU, named as in sales data. Each file is the whole catalogue and "
    "takes the place of the one before; it goes only when something changed, and is held while it would take many "
    "items out or turn `available` of many. What lacks a link is kept out; what lacks a picture follows the site file.",
    metadata={
        "dagster/column_schema": described_columns(
            [
                ("item", "code", "The SKU, as in sales data."),
                ("title", "text", "Name as a shopper reads it."),
                ("link", "text", "Address of the page."),
                ("image", "text", "Address of the picture."),
                ("category", "text", "Path, levels by >."),
                ("available", "word", "true or false: `core/availability` says so."),
                ("price", "money", "With VAT, in the shop's price list; `msrp` is the price before any reduction."),
                ("group_id", "code", "The style."),
                ("c_stock", "integer", "Units that can be sold."),
                ("c_expected_in", "date", "Day on which more is expected, if it lies ahead."),
                ("excluded", "word", "The rule that keeps the item out, or empty."),
            ]
        )
    },
    check_specs=checks_of("emarsys/catalogue"),
)
def catalogue(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Compose, plan, send the whole if anything differs."""
    refuse_unless_passed(context.instance, blocking_checks(UPSTREAM_OF_CATALOGUE))
    with project.open() as opened:
        composed = opened.catalogue()
        sent = opened.send_catalogue()
        going = lane_goes(opened.ledger, LANE, f"No file went: {sent.held}" if sent.held else "")
    plan = sent.plan
    priceless = composed.excluded.get(NO_PRICE, 0)
    unknown = [finding for finding in composed.findings if finding.kind == "item-unknown"]
    rest = [finding for finding in composed.findings if finding.kind not in ("item-unknown", "item-collision")]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": composed.items,
            **flow(
                read=composed.read,
                excluded=sum(composed.excluded.values()),
                planned=plan.new + plan.changed + plan.gone,
                sent=sent.items,
                accepted=sent.items if sent.accepted else 0,
                unchanged=composed.items - plan.new - plan.changed,
            ),
            "items available": composed.available,
            "back in stock": plan.back,
            "gone out": plan.out,
            "new": plan.new,
            "gone": plan.gone,
            "file (bytes)": sent.bytes,
            "excluded by rule": counts(composed.excluded),
            "sent without": counts(composed.lacking),
            **exceptions(composed.findings),
        },
        check_results=[
            check_result(
                "items_unique",
                Verdict(not composed.colliding, f"{composed.colliding:,} items stand for several SKUs each."),
            ),
            check_result(
                "prices",
                Verdict(not priceless, f"{priceless:,} SKUs have no price above 0 and are kept out."),
                dg.AssetCheckSeverity.WARN,
            ),
            findings_result("items_of_sales_known", unknown),
            check_result("nothing_held", going),
            findings_result("catalogue_exceptions", rest),
        ],
    )
