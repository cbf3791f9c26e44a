"""The sandbox's whole world through the reader: nothing is lost, and what is wrong on purpose is found."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import sqlalchemy as sa

from prima_emarsys.contract import TABLES
from prima_emarsys.sandbox.world import build
from prima_emarsys_tests.prima.tables import reader, whole

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)


def test_every_row_of_the_world_is_read_or_reported_and_both_ways_of_reading_agree(url: str) -> None:
    build(url, customers=300, lines_per_customer=4, now=NOW)
    fast, cursor = reader(url, page_rows=500), reader(url, "cursor", page_rows=500)
    engine = sa.create_engine(url)
    kinds: Counter[str] = Counter()
    for entity in TABLES.values():
        with engine.connect() as connection:
            stored = connection.scalar(sa.select(sa.func.count()).select_from(sa.table(entity.name)))
        pages = list(fast.everything(entity))
        assert sum(page.read for page in pages) == stored
        assert sum(page.good.num_rows + page.quarantined for page in pages) == stored
        again = list(cursor.everything(entity))
        assert whole(pages).equals(whole(again))
        assert [page.findings for page in pages] == [page.findings for page in again]
        kinds.update(finding.kind for page in pages for finding in page.findings)
    assert {"unknown-status", "field-withheld"} <= set(kinds)
    assert "unreadable-row" not in kinds
