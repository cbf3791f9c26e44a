"""The house keeps its shape: imports point one way, Dagster stays at the front door, money is never a float."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "prima_emarsys"
MONEY = ("amount", "value", "price", "money", "net", "gross", "refund", "vat", "discount", "rate", "total")


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Dotted name and tree of each module of the product."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        yield name, ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> set[str]:
    """What a module imports, at its head or later."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_rooms_import_one_way() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    ended = subprocess.run([str(lint)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout


def test_dagster_is_imported_only_at_the_front_door() -> None:
    rooms = ("prima_emarsys.defs", "prima_emarsys.definitions", "prima_emarsys.demo")
    strangers = {
        name
        for name, tree in modules()
        if any(one.split(".")[0].startswith("dagster") for one in imports(tree)) and not name.startswith(rooms)
    }
    assert strangers == set()


def test_the_sandbox_is_imported_only_by_the_command_line_and_the_demonstration() -> None:
    guests = {
        name
        for name, tree in modules()
        if any(one.startswith("prima_emarsys.sandbox") for one in imports(tree))
        and not name.startswith("prima_emarsys.sandbox")
    }
    assert guests == {"prima_emarsys.cli", "prima_emarsys.demo"}


def test_the_sandbox_imports_only_the_contract_of_the_product() -> None:
    own = {
        one
        for name, tree in modules()
        for one in imports(tree)
        if name.startswith("prima_emarsys.sandbox") and one.startswith("prima_emarsys.")
    }
    assert {one for one in own if not one.startswith(("prima_emarsys.sandbox", "prima_emarsys.contract"))} == set()


def test_every_module_says_what_it_is_for() -> None:
    silent = {name for name, tree in modules() if tree.body and not ast.get_docstring(tree)}
    assert silent == set()


def test_no_amount_of_money_becomes_a_float() -> None:
    floats = [
        f"{name}: {ast.unparse(node)}"
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Name) and node.func.id == "float")
            or (isinstance(node.func, ast.Attribute) and node.func.attr == "cast" and "float" in ast.unparse(node))
        )
        and any(word in ast.unparse(node).lower() for word in MONEY)
    ]
    assert floats == []
