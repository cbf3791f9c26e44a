"""`prima/customers`, `prima/orders`, `prima/returns`, `prima/products`: the mirror of Prima, brought up to date."""

import dagster as dg

from prima_emarsys.contract import entities_of
from prima_emarsys.defs.checks import checks_of
from prima_emarsys.defs.gate import last_evaluation
from prima_emarsys.defs.resources import ProjectResource
from prima_emarsys.defs.showing import check_result, column_schema, exceptions, findings_result, flow, table
from prima_emarsys.prima.mirror import Mirror
from prima_emarsys.steps.verdicts import Verdict, mirror_keeps_contract

SUBJECTS = {
    "customers": "Customer accounts, their addresses, consents and merges, as Prima has them. One person may have "
    "many accounts: `core/persons` puts them together.",
    "orders": "Sales orders with their lines, charges and despatches, and the accounting periods.",
    "returns": "Goods that came back, and the credit notes that refund them.",
}
MAIN_ENTITY = {"customers": "customer", "orders": "sales_order", "returns": "credit_note", "products": "product"}


class ReadConfig(dg.Config):
    """`sweep`: read everything, which also finds late commits and rows that Prima no longer has (nightly)."""

    sweep: bool = False


def _asset(subject: str, description: str) -> dg.AssetsDefinition:
    names = [entity.name for entity in entities_of(subject)]
    specs = checks_of(f"prima/{subject}")
    contract, complete, _ = specs

    @dg.asset(
        key=["prima", subject],
        group_name="prima",
        kinds={"prima", "sql"},
        owners=["team:data"],
        pool="warehouse",
        description=f"{description}\n\nReads only what changed since the last run, unless it sweeps. A row that breaks "
        "the contract is set aside as an exception; the others go on.",
        metadata={
            "tables": ", ".join(names),
            "dagster/column_schema": column_schema(entities_of(subject)[0 if subject != "customers" else 1]),
        },
        check_specs=specs,
        op_tags={"subject": subject},
    )
    def read(context: dg.AssetExecutionContext, config: ReadConfig, project: ProjectResource) -> dg.MaterializeResult:
        # What was red stays red until the whole has been looked at again: an increment knows only its own rows.
        held = last_evaluation(context.instance, contract.key)
        was_short = not config.sweep and (last_evaluation(context.instance, complete.key) or (True, ""))[0] is False
        whole = config.sweep or held is None or not held[0]
        with project.open() as opened, opened.warehouse() as warehouse:
            landings = opened.read(subject, sweep=config.sweep)
            verdict = mirror_keeps_contract(warehouse, landings, whole=whole)
            mirror = Mirror(warehouse)
            rows = {name: warehouse.count(mirror.live(name)) for name in names}
            marks = {name: str(mirror.mark(name) or "") for name in names}
        findings = [finding for landing in landings for finding in landing.findings]
        short = [landing for landing in landings if landing.refused]
        sentence = "; ".join(f"{landing.entity}: {landing.refused}" for landing in short)
        if was_short:
            sentence = "The last full read was short. Run `nightly_truth`, or materialise this with sweep on."
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": rows[MAIN_ENTITY[subject]],
                "rows": table(
                    ["table", "in the mirror", "read", "changed", "quarantined", "gone"],
                    [
                        (one.entity, rows[one.entity], one.read, one.changed, one.quarantined, one.gone)
                        for one in landings
                    ],
                ),
                **flow(
                    read=sum(one.read for one in landings),
                    changed=sum(one.changed for one in landings),
                    quarantined=sum(one.quarantined for one in landings),
                    unchanged=sum(one.read - one.quarantined - one.changed for one in landings),
                ),
                "gone": sum(one.gone for one in landings),
                "swept": config.sweep,
                "marks": dg.MetadataValue.json(marks),
                **exceptions(findings),
            },
            check_results=[
                check_result("contract", verdict),
                check_result("complete", Verdict(not was_short and not short, sentence or "No read was short.")),
                findings_result("quarantine", findings),
            ],
        )

    return read


customers, orders, returns = (_asset(subject, description) for subject, description in SUBJECTS.items())
products = _asset("products", "Styles, their SKUs (all levels of the matrix) and their prices.")
