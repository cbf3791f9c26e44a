"""`prima/stock`: a snapshot of what can be sold, believed or refused."""

import dagster as dg

from prima_emarsys.contract import ENTITIES
from prima_emarsys.defs.checks import checks_of
from prima_emarsys.defs.prima.assets import ReadConfig
from prima_emarsys.defs.resources import ProjectResource
from prima_emarsys.defs.showing import check_result, column_schema, counts, exceptions, findings_result, flow
from prima_emarsys.prima.mirror import Mirror
from prima_emarsys.project import STOCK_TABLES
from prima_emarsys.steps.verdicts import Verdict, mirror_keeps_contract


@dg.asset(
    key=["prima", "stock"],
    group_name="prima",
    kinds={"prima", "sql"},
    owners=["team:data"],
    # Not the warehouse's: Prima's web service may take minutes, and the warehouse is opened only after that.
    pool="stock",
    description="What can be sold of each SKU, over all sellable warehouses: by SQL from stock, allocations, what is "
    "held or kept back, or as Prima's web service says it; one shape either way. Each read is a snapshot. One that is "
    "far shorter than the last good one, of other companies, or older, is refused and changes nothing. A SKU that is "
    "missing counts as out only after several good snapshots without it.",
    metadata={"dagster/column_schema": column_schema(ENTITIES["available_stock"])},
    check_specs=checks_of("prima/stock"),
)
def stock(config: ReadConfig, project: ProjectResource) -> dg.MaterializeResult:
    """Read, judge, and write down what moved."""
    with project.open() as opened:
        result = opened.stock(sweep=config.sweep)
        with opened.warehouse() as warehouse:
            verdict = mirror_keeps_contract(warehouse, result.landings, whole=config.sweep)
            mirror = Mirror(warehouse)
            marks = {name: str(mirror.mark(name) or "") for name in (table.name for table in STOCK_TABLES)}
    strange = [finding for finding in result.findings if finding.kind in ("stock-owed", "stock-absurd")]
    rest = [finding for finding in result.findings if finding not in strange and finding.kind != "stock-refused"]
    believed = f"Snapshot {result.number} was believed." if result.kept else "Stock is as the last snapshot said."
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": result.skus,
            **flow(
                read=result.read,
                changed=result.moved,
                quarantined=result.quarantined,
                refused=int(result.refused is not None),
                unchanged=result.skus - result.moved,
            ),
            "SKUs available": result.available,
            "moves": counts(result.moves),
            "source": result.source,
            "swept": config.sweep,
            "marks": dg.MetadataValue.json(marks if result.landings else {}),
            **exceptions(result.findings),
        },
        check_results=[
            check_result("contract", verdict),
            check_result("snapshot", Verdict(result.refused is None, result.refused or believed)),
            findings_result("quarantine", rest),
            findings_result("quantities", strange),
        ],
    )
