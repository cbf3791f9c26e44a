"""`proof/sales`: what Prima says was sold, what Emarsys accepted, and why the two differ."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import dagster as dg

from prima_emarsys.defs.checks import checks_of
from prima_emarsys.defs.resources import ProjectResource
from prima_emarsys.defs.showing import bars, check_result, counts, described_columns, exceptions, table
from prima_emarsys.proof.sales import FIGURES, NO_DATE, SalesProof
from prima_emarsys.rules.reconciliation import CAUSES
from prima_emarsys.steps.verdicts import Verdict
from prima_emarsys.sync.periods import CLOCKS, POSTED

_MONTHS_SHOWN = 13
_MONTHS_DRAWN = 6


@dg.asset(
    key=["proof", "sales"],
    group_name="proof",
    kinds={"ibis"},
    owners=["team:finance", "team:marketing"],
    pool="warehouse",
    deps=[["core", "sales"], ["emarsys", "sales_data"]],
    description="Adds Prima's books up again, straight from its orders and credit notes, and compares them with what "
    "Emarsys accepted: per day, company, channel and currency, by order date (marketing) and by posting date "
    "(finance). Every difference is broken down to records with one cause each, and the causes add up to it exactly. "
    "Figures of accounting periods that Prima has closed are frozen; what changes them later counts in the open "
    "period. `prima-emarsys report sales` writes the same as a page to print and as CSV.",
    metadata={
        "dagster/column_schema": described_columns(
            [
                ("clock", "word", "`ordered`: a refund on the day of its order; `posted`: on the day of its posting."),
                ("day", "date", "The site's day; empty if Prima gives none."),
                ("company", "code", "Company of the books."),
                ("channel", "code", "Channel of the order."),
                ("currency", "code", "Currency of the order."),
                ("orders", "money", "Sold, charges included; like all that follows in the Emarsys account's currency."),
                ("refunds", "money", "Cancelled or credited, negative."),
                ("returns_waiting", "money", "Receipted returns without their credit note, negative."),
                ("net", "money", "The sum of these three: what Prima says."),
                ("desired", "money", "What should be in Emarsys by now."),
                ("accepted", "money", "What is in files that Emarsys accepted."),
                ("difference", "money", "net less accepted."),
            ]
        )
    },
    check_specs=checks_of("proof/sales"),
)
def sales(project: ProjectResource) -> dg.MaterializeResult:
    """Compare, freeze closed periods, and explain."""
    with project.open() as opened:
        proof = opened.prove_sales()
        share = opened.site.emarsys.sales.waiting_share
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": proof.rows,
            "lines that should be in Emarsys": proof.lines,
            "figures": counts({f"{name.replace('_', ' ')} ({proof.currency})": proof.totals[name] for name in FIGURES}),
            "by month": _months(proof),
            "net by month": _plot(proof),
            **_causes(proof),
            **_periods(proof),
            **exceptions(proof.findings),
        },
        check_results=[
            check_result("causes_add_up", Verdict(proof.holds, proof.sentence)),
            check_result("little_waits_for_people", _waits(proof, share), dg.AssetCheckSeverity.WARN),
            check_result("closed_periods_stand", _stand(proof), dg.AssetCheckSeverity.WARN),
        ],
    )


def _months(proof: SalesProof) -> dg.MarkdownMetadataValue:
    figures = [(clock, name) for clock in CLOCKS for name in ("net", "accepted", "difference")]
    rows = [
        (month, *(clocks.get(clock, {}).get(name, Decimal("0.00")) for clock, name in figures))
        for month, clocks in list(proof.months.items())[-_MONTHS_SHOWN:]
    ]
    words = {"net": "net in Prima", "accepted": "accepted", "difference": "difference"}
    return table(["", *(f"{words[name]}, {clock}" for clock, name in figures)], rows)


def _plot(proof: SalesProof) -> dg.MarkdownMetadataValue:
    months = [name for name in proof.months if name != NO_DATE][-_MONTHS_DRAWN:]
    posted = {month: proof.months[month].get(POSTED, {}) for month in months}
    drawn = {
        side: [int(posted[month].get(name, 0)) for month in months]
        for side, name in (("Prima", "net"), ("Emarsys", "accepted"))
    }
    return bars(f"Net by month of posting, in whole {proof.currency}", months, drawn)


def _causes(proof: SalesProof) -> dict[str, Any]:
    if not proof.causes:
        return {}
    headings = ["cause", "detail", "order currency", "records", "in it", f"in {proof.currency}", "whose turn"]
    rows = [(c.cause, c.detail, c.currency, c.records, c.value, c.amount, c.owner) for c in proof.causes]
    meanings = [(name, CAUSES[name].meaning) for name in dict.fromkeys(c.cause for c in proof.causes)]
    return {"why they differ": table(headings, rows), "causes": table(["cause", "what it means"], meanings)}


def _periods(proof: SalesProof) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if proof.closing.frozen:
        rows = [(p.company, p.period, p.clock, p.net, p.late, p.currency) for p in reversed(proof.closing.frozen)]
        found["periods frozen by this run"] = table(["company", "period", "clock", "net", "of it late", ""], rows)
    if proof.closing.reopened:
        found["periods opened again"] = table(["company", "period"], proof.closing.reopened)
    if proof.late:
        rows = [(o.company, o.period, o.clock, o.counts_in, o.records, o.base, o.currency) for o in proof.late]
        headings = ["company", "closed period", "clock", "counts in", "records", "net", ""]
        found["late adjustments"] = table(headings, rows)
    return found


def _waits(proof: SalesProof, share: float) -> Verdict:
    waits, limit = proof.waiting_for_people, abs(proof.totals["net"]) * Decimal(str(share))
    figures = {one: proof.amount_of(one) for one, cause in CAUSES.items() if cause.owner and proof.amount_of(one)}
    sentence = f"{waits:,.2f} {proof.currency} wait for a person; the site tolerates {limit:,.2f} ({share:.2%} of net)."
    return Verdict(waits <= limit, sentence, figures)


def _stand(proof: SalesProof) -> Verdict:
    late = [one for one in proof.late if one.clock == POSTED]
    if not late:
        return Verdict(True, "No closed period has a late adjustment that is not in a closed one yet.")
    first = f"the first in {late[0].period} of company {late[0].company}"
    return Verdict(False, f"{sum(one.records for one in late):,} records of closed periods have changed, {first}.")
