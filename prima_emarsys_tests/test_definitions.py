"""What Dagster loads: the assets as they are promised to their readers, and loading them as a user does.

`python -m prima_emarsys_tests.test_definitions` renews the snapshot after a change that is meant.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from prima_emarsys.definitions import defs
from prima_emarsys.defs.checks import checks_of
from prima_emarsys.defs.emarsys.assets import UPSTREAM
from prima_emarsys.defs.emarsys.catalogue import UPSTREAM_OF_CATALOGUE
from prima_emarsys.defs.emarsys.sales import UPSTREAM_OF_SALES

ROOT = Path(__file__).parents[1]
SNAPSHOT = Path(__file__).with_name("asset_specs.json")


def specs() -> dict[str, Any]:
    """What other people and systems rely on, of each asset: not its words."""
    graph = defs.resolve_asset_graph()
    found: dict[str, Any] = {}
    for node in graph.asset_nodes:
        checks = [graph.get_check_spec(key) for key in graph.get_check_keys_for_assets({node.key})]
        found[node.key.to_user_string()] = {
            "group": node.group_name,
            "kinds": sorted(node.kinds),
            "owners": sorted(node.owners),
            "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
            "pools": sorted(node.pools or ()),
            "checks": {
                spec.name: "blocking" if spec.blocking else "warning" for spec in sorted(checks, key=lambda s: s.name)
            },
        }
    return dict(sorted(found.items()))


def written() -> str:
    """The snapshot as it is kept."""
    return json.dumps(specs(), indent=2) + "\n"


def test_no_asset_changed_its_key_owner_pool_dependency_or_check_by_accident() -> None:
    assert written() == SNAPSHOT.read_text(encoding="utf-8"), "renew it: python -m prima_emarsys_tests.test_definitions"


@pytest.mark.parametrize(
    ("asset", "looked_at"),
    [("contacts", UPSTREAM), ("sales_data", UPSTREAM_OF_SALES), ("catalogue", UPSTREAM_OF_CATALOGUE)],
)
def test_the_gate_looks_at_everything_upstream_of_what_is_sent(asset: str, looked_at: tuple[str, ...]) -> None:
    graph = defs.resolve_asset_graph()
    upstream = dg.AssetSelection.assets(dg.AssetKey(["emarsys", asset])).upstream(include_self=False).resolve(graph)
    assert {one.to_user_string() for one in upstream} == set(looked_at)
    # No contact waits for a better forecast: a model that is not sound is not used.
    blocking = {name for name in looked_at if "blocking" in specs()[name]["checks"].values()}
    assert {"emarsys/predicted_value", "emarsys/contacts"} >= set(looked_at) - blocking


@pytest.mark.parametrize("asset", sorted(specs()))
def test_an_assets_page_reads_well(asset: str) -> None:
    node = defs.resolve_asset_graph().get(dg.AssetKey(asset.split("/")))
    assert len(node.description or "") > 60
    assert node.owners
    assert node.kinds
    assert all(spec.description for spec in checks_of(asset))
    if asset != "proof/contacts":  # compares; it keeps no rows of its own
        schema = node.metadata["dagster/column_schema"]
        assert schema.columns
        assert all(column.description for column in schema.columns)


def test_what_runs_by_itself_can_be_switched_off_by_one_variable() -> None:
    code = (
        "from prima_emarsys.definitions import defs;"
        "print(defs.resolve_schedule_def('nightly').default_status.value,"
        " defs.resolve_schedule_def('sales_data').default_status.value,"
        " defs.resolve_sensor_def('prima_changes').default_status.value)"
    )
    for manual, expected in (("", "RUNNING RUNNING RUNNING"), ("1", "STOPPED STOPPED STOPPED")):
        ended = python(["-c", code], PRIMA_EMARSYS_MANUAL=manual)
        assert ended.stdout.split() == expected.split(), ended.stderr


def test_loading_imports_nothing_that_only_the_weekly_model_needs() -> None:
    code = (
        "import sys, prima_emarsys.definitions;"
        "print(*{name.split('.')[0] for name in sys.modules} & {'scipy', 'matplotlib', 'numpy'})"
    )
    ended = python(["-c", code])
    assert ended.stdout.split() == ["numpy"], ended.stderr


def test_a_fresh_instance_loads_as_a_user_loads_it_and_gives_no_warning(tmp_path: Path) -> None:
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(ROOT / "dagster.yaml", home)
    ended = python(
        # The one warning that is known: Dagster would rather see its newer command, which takes no workspace.yaml.
        ["-W", "ignore:function `definitions_validate_command`", "-m", "dagster"]
        + ["definitions", "validate", "-w", "workspace.yaml"],
        DAGSTER_HOME=str(home),
        PRIMA_EMARSYS_HOME=str(tmp_path / "home"),
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    assert "All code locations passed validation" in said
    assert "warning" not in said.lower()
    assert not (tmp_path / "home").exists()  # loading opens nothing


def test_a_broken_site_file_says_so_when_the_definitions_are_loaded(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("site: broken\nprima:\n  entities:\n    custommer: {}\n")
    ended = python(["-c", "import prima_emarsys.definitions"], PRIMA_EMARSYS_SITE=str(site))
    assert ended.returncode != 0
    assert f"{site}:4: prima.entities.custommer: no such entity; the contract has company, customer" in ended.stderr


def python(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """This interpreter, in the project's folder, with only these of our own variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PRIMA_", "EMARSYS_"))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


if __name__ == "__main__":
    SNAPSHOT.write_text(written(), encoding="utf-8")
