"""The same contacts carried to the local Emarsys by dlt, as its documents show a sink of one's own. A process apart.

`python rival_dlt.py WAREHOUSE EMARSYS_URL IDS FOLDER`, where IDS is JSON: column of the table `bench` -> field id; the
first is the key. FOLDER takes dlt's own state. The token stands in BENCH_TOKEN.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

import dlt
import duckdb
import requests

warehouse, url, given, folder = sys.argv[1:]
ids = json.loads(given)
key_field = next(iter(ids.values()))
session = requests.Session()
session.trust_env = False


@dlt.resource(name="contacts", primary_key="person_key")
def desired() -> Iterator[list[dict]]:
    """The desired contacts, a thousand at a time."""
    with duckdb.connect(warehouse, read_only=True) as engine:
        rows = engine.execute("SELECT * FROM bench")
        names = [column[0] for column in rows.description]
        while page := rows.fetchmany(1_000):
            yield [dict(zip(names, row, strict=True)) for row in page]


@dlt.destination(batch_size=1_000, loader_parallelism_strategy="sequential", skip_dlt_columns_and_tables=True)
def emarsys(items: list[dict], table: dict) -> None:  # noqa: ARG001 (dlt's signature)
    """One call a batch."""
    records = [{ids[name]: value for name, value in item.items() if value is not None} for item in items]
    reply = session.put(
        f"{url}/api/v3/contact/",
        params={"create_if_not_exists": 1},
        json={"key_id": key_field, "contacts": records},
        headers={"Authorization": f"Bearer {os.environ['BENCH_TOKEN']}"},
        timeout=60,
    )
    reply.raise_for_status()


dlt.pipeline("contacts", destination=emarsys(), pipelines_dir=folder).run(desired())
