"""The front door: everything that Dagster loads, put together on one screen."""

from __future__ import annotations

import dagster as dg

from prima_emarsys.defs.automation import nightly_schedule, nightly_truth, sales_data_schedule, sync
from prima_emarsys.defs.core.assets import persons, sales
from prima_emarsys.defs.core.stock import availability
from prima_emarsys.defs.emarsys.assets import contacts, rfm_clv
from prima_emarsys.defs.emarsys.catalogue import catalogue
from prima_emarsys.defs.emarsys.events import events
from prima_emarsys.defs.emarsys.predictions import predicted_value
from prima_emarsys.defs.emarsys.sales import sales_data
from prima_emarsys.defs.emarsys.sensors import order_events
from prima_emarsys.defs.prima.assets import customers, orders, products, returns
from prima_emarsys.defs.prima.sensors import prima_changes, prima_stock
from prima_emarsys.defs.prima.stock import stock
from prima_emarsys.defs.proof.assets import contacts as proof_of_contacts
from prima_emarsys.defs.proof.assets import exceptions
from prima_emarsys.defs.proof.sales import sales as proof_of_sales
from prima_emarsys.defs.resources import ProjectResource
from prima_emarsys.settings import load_settings


def build_defs(project: ProjectResource | None = None) -> dg.Definitions:
    """All definitions; tests give their own project."""
    return dg.Definitions(
        assets=[
            customers,
            orders,
            returns,
            products,
            stock,
            persons,
            sales,
            availability,
            rfm_clv,
            predicted_value,
            contacts,
            sales_data,
            catalogue,
            events,
            proof_of_contacts,
            proof_of_sales,
            exceptions,
        ],
        jobs=[sync, nightly_truth],
        schedules=[nightly_schedule(load_settings().site.time_zone), sales_data_schedule],
        sensors=[prima_changes, prima_stock, order_events],
        resources={"project": project or ProjectResource()},
        # Steps of one run follow each other anyway (one warehouse), and a run starts in one second instead of ten.
        executor=dg.in_process_executor,
    )


defs = build_defs()
