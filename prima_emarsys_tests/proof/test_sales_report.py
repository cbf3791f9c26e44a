"""What finance gets: CSV whose columns sum, and one page that says first the figures, then why, then whose turn."""

from __future__ import annotations

import csv
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from prima_emarsys.proof.sales import FIGURES, SalesProof
from prima_emarsys.proof.sales_report import Told, write_report
from prima_emarsys.sync.exceptions import open_exceptions
from prima_emarsys.sync.periods import Periods
from prima_emarsys_tests.proof.firm import Firm
from prima_emarsys_tests.proof.test_sales import trouble

D = Decimal


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def reported(firm: Firm, tmp_path: Path) -> tuple[Path, SalesProof]:
    """The folder of a report on a firm with every trouble."""
    firm.period("2026-03", date(2026, 3, 1), date(2026, 3, 31), "closed")
    firm.period("2026-04", date(2026, 4, 1), date(2026, 12, 31))
    proof = trouble(firm)
    Periods(firm.ledger).sign("1", "2026-03", "Ann <of> finance", "trial balance")
    periods, cases = Periods(firm.ledger).active(), open_exceptions(firm.ledger)
    told = Told("Shoes & Co", datetime(2026, 11, 20, 9, tzinfo=UTC), "incl", periods, cases)
    write_report(tmp_path, firm.warehouse, proof, told)
    return tmp_path, proof


def test_every_row_explains_itself_every_column_sums_to_its_total_and_the_page_says_it_in_order(
    reported: tuple[Path, SalesProof],
) -> None:
    folder, proof = reported
    for name in ("sales-by-posting-date.csv", "sales-by-order-date.csv"):
        rows = rows_of(folder / name)
        assert {figure: sum(D(row[figure]) for row in rows) for figure in FIGURES} == proof.totals
        for row in rows:
            causes = sum(D(amount) for column, amount in row.items() if column.startswith("cause_"))
            assert D(row["net"]) - D(row["accepted"]) == D(row["difference"]) == causes, row
        assert [row["day"] for row in rows if row["day"]] == sorted(row["day"] for row in rows if row["day"])
    records = rows_of(folder / "sales-records.csv")
    assert sum(D(row["amount"]) for row in records) == proof.totals["difference"]
    turns = {row["detail"]: row["whose_turn"] for row in records}
    assert turns["refunded above its sale"] == turns["credit-undated"] == turns["missing-rate"] == "finance"
    assert turns["its contact was refused"] == "data"
    assert turns["internal:staff"] == ""

    page = (folder / "sales.html").read_text(encoding="utf-8")
    headings = re.findall("<h2>(.*?)</h2>", page)
    assert headings[:4] == ["The figures", "What differs", "Whose turn it is", "Closed periods"]
    assert not re.search("<script|https?:|src=|@import", page)
    assert "Shoes &amp; Co" in page
    assert "Ann &lt;of&gt; finance" in page
    assert f"{proof.totals['difference']:,}" in page
    for cause in {one.cause for one in proof.causes}:
        assert f">{cause}<" in page
    assert "<code>prima-emarsys sales resolve FILE --arrived</code>" in page


def test_a_text_that_is_a_formula_to_a_spreadsheet_is_disarmed_and_amounts_stay_amounts(
    firm_of_either: Firm, tmp_path: Path
) -> None:
    firm = firm_of_either
    firm.customer("A")
    firm.order("100", "10.00", channel='=HYPERLINK("x")')
    firm.credit("K", "100", "4.00", date(2026, 4, 1))
    firm.compute()
    told = Told("a", datetime(2026, 11, 20, tzinfo=UTC), "incl", [], [])
    write_report(tmp_path, firm.warehouse, firm.prove(), told)
    rows = rows_of(tmp_path / "sales-by-posting-date.csv")
    assert [(row["channel"], row["net"]) for row in rows] == [
        ('\'=HYPERLINK("x")', "10.00"),
        ('\'=HYPERLINK("x")', "-4.00"),
    ]
