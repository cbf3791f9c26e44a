"""`emarsys/sales_data`: every order line, cancellation, return and credit in Emarsys, once."""

from datetime import timedelta
from typing import Any

import dagster as dg

from prima_emarsys.defs.checks import blocking_checks, checks_of
from prima_emarsys.defs.core.assets import StepConfig
from prima_emarsys.defs.emarsys.assets import UPSTREAM
from prima_emarsys.defs.gate import refuse_unless_passed
from prima_emarsys.defs.resources import ProjectResource
from prima_emarsys.defs.showing import check_result, counts, described_columns, exceptions, findings_result, flow, table
from prima_emarsys.steps.sales_data import LinesCounts, SalesSent
from prima_emarsys.steps.verdicts import lane_goes, no_file_waits_long, no_invented_buyers, order_ids_unique
from prima_emarsys.sync.sales_files import ACCEPTED, REFUSED, UNKNOWN, SalesFiles
from prima_emarsys.sync.upload import LANE, Uploaded

UPSTREAM_OF_SALES = (*UPSTREAM, "emarsys/contacts")
"""Everything upstream of `emarsys/sales_data`; a test compares it with the graph."""

LEFT = "left to the next run"
"""The metadata that says how many rows could go and have not: a first load is throttled."""

_RECENT = timedelta(days=2)
"""Emarsys loads files daily: a buyer of older ones is settled."""


@dg.asset(
    key=["emarsys", "sales_data"],
    group_name="emarsys",
    kinds={"ibis", "emarsys"},
    owners=["team:finance", "team:marketing"],
    pool="warehouse",
    deps=[["core", "sales"], ["emarsys", "contacts"]],
    description="Every order line, cancellation, return and credit of the signed ledger as a row of sales data in "
    "Emarsys, once. Refunds are negative rows under their order, dated at the credit note; what changed about a row "
    "that was sent goes as a signed difference. Rows are sealed into files; a file whose reply was lost is unknown "
    "and never goes again by itself. No row leaves before its buyer is an acknowledged contact.",
    metadata={
        "dagster/column_schema": described_columns(
            [
                ("line_key", "code", "The row of the signed ledger."),
                ("order_id", "code", "The order in Emarsys."),
                ("item", "code", "SKU, or the name of a charge."),
                ("customer", "code", "The buyer: a person key."),
                ("kind", "word", "sale, cancellation, return, credit, or adjustment of a row already sent."),
                ("price", "money", "Signed row total, in the Emarsys account's currency."),
                ("quantity", "integer", "Signed units."),
                ("happened_at", "timestamp", "When it happened; an adjustment: when it was found."),
                ("excluded", "word", "The rule that keeps the row out of Emarsys, or empty."),
            ]
        )
    },
    check_specs=checks_of("emarsys/sales_data"),
)
def sales_data(context: dg.AssetExecutionContext, config: StepConfig, project: ProjectResource) -> dg.MaterializeResult:
    """Compose, plan, seal, upload."""
    refuse_unless_passed(context.instance, blocking_checks(UPSTREAM_OF_SALES))
    with project.open() as opened:
        composed = opened.sales_lines(whole=config.whole)
        sent = opened.send_sales()
        files = SalesFiles(opened.ledger)
        hours = opened.site.emarsys.sales.unknown_hours
        with opened.warehouse() as warehouse:
            unique = order_ids_unique(warehouse)
            now = opened.ledger.clock()
            buyers = no_invented_buyers(warehouse, opened.ledger, now - _RECENT)
        waiting = no_file_waits_long(files.all(UNKNOWN, REFUSED), now, hours)
        held = f"Nothing new is put into files: {sent.held}" if sent.held else ""
        going = lane_goes(opened.ledger, LANE, held)
        states = files.by_state()
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": composed.lines,
            **_flow(composed, sent),
            **_progress(composed, sent),
            "files by state": table(
                ["state", "files", "rows", "value"], [(state, *numbers) for state, numbers in states.items()]
            ),
            "excluded by rule": counts(composed.excluded),
            "whole": composed.whole,
            **exceptions(composed.findings),
        },
        check_results=[
            check_result("order_ids_unique", unique),
            check_result("no_invented_buyers", buyers),
            check_result("no_file_waits_long", waiting),
            check_result("nothing_held", going),
            findings_result("sales_data_exceptions", composed.findings),
        ],
    )


def _flow(composed: LinesCounts, sent: SalesSent) -> dict[str, int]:
    rows = (sent.uploaded or Uploaded()).rows
    planned = sent.plan.rows + sum(sent.plan.waiting.values()) if sent.plan else 0
    return flow(
        read=composed.read,
        changed=composed.composed,
        excluded=sum(composed.excluded.values()),
        planned=planned,
        sent=rows[ACCEPTED] + rows[REFUSED] + rows[UNKNOWN],
        accepted=rows[ACCEPTED],
        refused=rows[REFUSED],
        unknown=rows[UNKNOWN],
    )


def _progress(composed: LinesCounts, sent: SalesSent) -> dict[str, Any]:
    """How far a first load is, and what of this run waits for what."""
    if sent.plan is None:
        return {"another process was sending": sent.held_by or ""}
    left = sent.to_go + sum(sent.plan.waiting.values())
    share = max(0.0, 1 - left / composed.lines) if composed.lines else 1.0
    return {
        "put into files": sent.rows_sealed,
        LEFT: sent.to_go,
        "lines in files (%)": round(100 * share, 1),
        "waiting": counts(dict(sent.plan.waiting)),
    }
