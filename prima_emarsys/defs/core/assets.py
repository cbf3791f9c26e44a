"""`core/persons` and `core/sales`: who is who, and what was sold, net of what came back."""

import dagster as dg

from prima_emarsys.defs.checks import checks_of
from prima_emarsys.defs.resources import ProjectResource
from prima_emarsys.defs.showing import check_result, counts, described_columns, exceptions, findings_result, flow
from prima_emarsys.steps.verdicts import every_account_placed, no_internal_person, sales_tie


class StepConfig(dg.Config):
    """`whole`: compute everything instead of what changed. Both leave the same bytes; the nightly run is whole."""

    whole: bool = False


@dg.asset(
    key=["core", "persons"],
    group_name="core",
    kinds={"ibis"},
    owners=["team:customer-service"],
    pool="warehouse",
    deps=[["prima", "customers"]],
    description="Accounts put together as persons: joined by a merge in Prima or by the same e-mail, never by a name. "
    "The person key is ours and stable for ever; internal accounts are left out by the site's named rules.",
    metadata={
        "dagster/column_schema": described_columns(
            [
                ("account", "code", "The account, as company-code."),
                ("person_key", "code", "The person it belongs to."),
                ("reason", "word", "Why: its own, merged, or the same e-mail."),
                ("is_lead", "flag", "Whether its name, address and e-mail speak for the person."),
            ]
        )
    },
    check_specs=checks_of("core/persons"),
)
def persons(config: StepConfig, project: ProjectResource) -> dg.MaterializeResult:
    """Resolve the persons whose accounts or merges changed."""
    with project.open() as opened, opened.warehouse() as warehouse:
        result = opened.persons(whole=config.whole)
        internal, placed = no_internal_person(warehouse), every_account_placed(warehouse)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": result.linked,
            "persons": result.persons,
            **flow(
                read=result.accounts,
                changed=result.touched,
                excluded=sum(result.excluded.values()),
                unchanged=result.persons - result.touched,
            ),
            "new persons": result.new_persons,
            "excluded by rule": counts(result.excluded),
            "whole": result.whole,
            **exceptions(result.findings),
        },
        check_results=[
            check_result("no_internal_account", internal),
            check_result("every_account_placed", placed),
            findings_result("identity_exceptions", result.findings),
        ],
    )


@dg.asset(
    key=["core", "sales"],
    group_name="core",
    kinds={"ibis"},
    owners=["team:finance"],
    pool="warehouse",
    deps=[["prima", "orders"], ["prima", "returns"], ["core", "persons"]],
    description="The signed ledger of sales: each order line, cancellation, return, credit and charge is a row with an "
    "amount; net is their sum. Two dates: of the order (marketing's clock) and of the posting (finance's clock). "
    "Amounts with and without VAT, in the order's currency and in base currency by the order's own rate.",
    metadata={
        "dagster/column_schema": described_columns(
            [
                ("sale_key", "code", "Stable key of the row."),
                ("order_key", "code", "The order, as company-number."),
                ("kind", "word", "sale, cancellation, return, return-credited or credit."),
                ("nature", "word", "goods, charge or goodwill."),
                ("account", "code", "Whose it is, as company-code."),
                ("channel", "code", "Channel of the order."),
                ("sku", "code", "Style and matrix codes."),
                ("quantity", "integer", "Signed units."),
                ("value_incl_vat", "money", "Signed, order currency."),
                ("base_incl_vat", "money", "Signed, base currency, to the penny."),
                ("base_discount", "money", "Signed discount already taken off, base currency with VAT."),
                ("ordered_at", "timestamp", "When the order was placed; `ordered_on` is its day at the site."),
                ("posted_at", "timestamp", "When this row happened; `posted_on` is its day at the site."),
                ("excluded", "word", "The rule that keeps the row out of every figure, or empty."),
            ]
        )
    },
    check_specs=checks_of("core/sales"),
)
def sales(config: StepConfig, project: ProjectResource) -> dg.MaterializeResult:
    """Book the orders that changed, whole orders at a time."""
    with project.open() as opened, opened.warehouse() as warehouse:
        result = opened.sales(whole=config.whole)
        tie = sales_tie(warehouse)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": result.rows,
            "net sales (base currency with VAT)": dg.MetadataValue.text(f"{result.net:,}"),
            **flow(read=result.rows, changed=result.orders, excluded=sum(result.excluded.values())),
            "persons touched": result.persons,
            "rows excluded by rule": counts(result.excluded),
            "whole": result.whole,
            **exceptions(result.findings),
        },
        check_results=[check_result("ties_to_prima", tie), findings_result("sales_exceptions", result.findings)],
    )
