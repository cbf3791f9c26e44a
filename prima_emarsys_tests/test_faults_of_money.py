"""The table of faults that touch money names tests that there are, and no test of sales by number is missing in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "faults-of-money.md").read_text(encoding="utf-8")
OF_SALES = ("sync/test_sales_plan.py", "sync/test_sales_crashes.py", "emarsys/test_sales_data.py")


def names_in(path: str) -> set[str]:
    """Names of the tests in a file."""
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_test_that_the_table_names_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 30
    assert [f"{path}::{name}" for path, name in named if name not in names_in(path)] == []


def test_every_test_of_sales_by_number_stands_in_its_row() -> None:
    rows = {number for line in PAGE.splitlines() if line.startswith("| ") for number in line.split("|")[1].split(",")}
    numbers = {number.strip() for number in rows}
    for path in OF_SALES:
        for name in names_in(path):
            if found := re.match(r"test_rows?_(\d+)(?:_and_(\d+))?_", name):
                assert {number for number in found.groups() if number} <= numbers, name
