"""A whole house for a test: a made-up Prima, a local Emarsys over HTTP, the stores, and a Dagster instance.

The first sync of a world is made once and then copied, so that a test starts from a house that is in step.
Here belongs how tests look at both ends and let things happen; what they promise stands in their own modules.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from prima_emarsys.demo import sandbox
from prima_emarsys.emarsys.contacts import Contacts
from prima_emarsys.emarsys.outcome import Answered
from prima_emarsys.project import Project
from prima_emarsys.sandbox.emarsys.server import LocalEmarsys
from prima_emarsys.sandbox.world import build, tick
from prima_emarsys.sandbox.world.clock import local
from prima_emarsys.sandbox.world.store import open_world
from prima_emarsys.sandbox.world.tick import Fact
from prima_emarsys.settings import load_settings
from prima_emarsys.sync.payload import canonical
from prima_emarsys_tests.conftest import MadeOnce

CUSTOMERS = 400
SWEEPING = ("prima/customers", "prima/orders", "prima/returns")
COMPUTING = ("core/persons", "core/sales", "emarsys/rfm_clv", "emarsys/contacts", "emarsys/sales_data")
STOCK = ("prima/products", "prima/stock", "core/availability", "emarsys/catalogue")
"""The branch of stock and catalogue, which goes by itself."""
_STILL = {"telemetry": {"enabled": False}, "nux": {"enabled": False}}
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def key(name: str) -> dg.AssetKey:
    """`core/persons` as Dagster writes it."""
    return dg.AssetKey(name.split("/"))


@dataclass
class House:
    """One sandbox, running. The process's environment points at it."""

    folder: Path
    emarsys: LocalEmarsys
    instance: dg.DagsterInstance
    environment: Mapping[str, str] = field(repr=False)

    # -- letting things happen ---------------------------------------------------------------------------------------

    def run(
        self, *assets: str, job: str = "sync", sweep: bool = False, whole: bool = False
    ) -> dg.ExecuteInProcessResult:
        """One run of a job, or of some of its assets; a failure is a result, not an error."""
        from prima_emarsys.definitions import defs

        config: dict[str, Any] = dict(_QUIET)
        chosen = assets or (*SWEEPING, *COMPUTING)
        if sweep or whole:
            options = {name: {"sweep": True} for name in (*SWEEPING, *STOCK[:2]) if sweep}
            options |= {name: {"whole": True} for name in COMPUTING if whole}
            config["ops"] = {name.replace("/", "__"): {"config": options[name]} for name in options if name in chosen}
        return defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            run_config=config,
            asset_selection=[key(name) for name in assets] or None,
            raise_on_error=False,
        )

    def tick(self, *kinds: str, changes: int = 1, seed: int = 1, **options: Any) -> list[Fact]:
        """Something happens in Prima, now."""
        return tick(self.prima_url, now=datetime.now(UTC), changes=changes, seed=seed, kinds=kinds, **options)

    def amend(self, entity: str, find: Mapping[str, str], **values: object) -> None:
        """Change one row of Prima and stamp it now."""
        with open_world(self.prima_url) as store, store.rows() as rows:
            row = rows.one(entity, **find)
            assert row is not None
            rows.rewrite(entity, row | {"changed_at": local(datetime.now(UTC))} | values)

    def write(self, person: str, **values: str) -> None:
        """Somebody else writes fields of a contact in Emarsys, by the API."""
        with self.project() as project:
            route = project.route
            fields = {str(self.emarsys.field_id(name)): value for name, value in values.items()}
            body = canonical({str(route.key_field): person} | fields)
            outcome = Contacts(project.emarsys).upsert(route.key_field, {person: body})
        assert outcome == Answered({})

    # -- looking -----------------------------------------------------------------------------------------------------

    @property
    def prima_url(self) -> str:
        """The made-up Prima."""
        return self.environment["PRIMA_URL"]

    @contextmanager
    def project(self) -> Iterator[Project]:
        """The project as any process of this environment opens it."""
        project = Project(load_settings())
        try:
            yield project
        finally:
            project.close()

    def table(self, name: str) -> list[dict[str, Any]]:
        """All rows of a table of the warehouse."""
        with self.project() as project, project.warehouse() as warehouse:
            return warehouse.read(warehouse.table(name)).to_pylist()

    def desired(self) -> dict[str, dict[str, str]]:
        """What Emarsys should hold, by person key: Emarsys's field names, fields without a value left out."""
        with self.project() as project:
            names = {one.name: one.string_id for one in project.contact_fields}
        return {
            row["person_key"]: {names[name]: value for name, value in row.items() if name in names and value}
            for row in self.table("emarsys.contacts")
        }

    def held(self) -> dict[str, dict[str, str]]:
        """What Emarsys holds, straight from its store, in the same form."""
        with self.project() as project:
            names = {one.string_id for one in project.contact_fields}
        return {
            person: {name: str(value) for name, value in contact.items() if name in names and value}
            for person, contact in self.emarsys.contacts().items()
        }

    def person(self, wanted: Callable[[dict[str, str]], bool] = lambda contact: True) -> str:  # noqa: ARG005
        """Key of a desired person with one account that fits. Of company 2, where a tick changes nothing."""
        return next(
            person
            for person, contact in sorted(self.desired().items())
            if person.startswith("P2-") and contact["prima_accounts"] == "1" and wanted(contact)
        )


def account_of(contact: Mapping[str, str]) -> dict[str, str]:
    """Where the lead account of a desired contact stands in Prima."""
    company, _, code = contact["prima_account"].partition("-")
    return {"company": company, "customer_code": code}


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """What a run said about an asset that it materialised."""
    found = [e for e in result.get_asset_materialization_events() if e.asset_key == key(asset)]
    assert found, failures(result)
    (event,) = found
    return {name: value.value for name, value in event.step_materialization_data.materialization.metadata.items()}


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """`asset:check` → whether it passed, in this run."""
    found = result.get_asset_check_evaluations()
    return {f"{one.asset_key.to_user_string()}:{one.check_name}": one.passed for one in found}


def failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Step → the words of its error and of what caused it."""
    words = {}
    for event in result.filter_events(lambda event: event.is_step_failure):
        parts, error = [], event.step_failure_data.error
        while error is not None:
            parts.append(error.message)
            error = error.cause
        words[str(event.step_key)] = " ".join(parts)
    return words


def materialised(result: dg.ExecuteInProcessResult) -> list[str]:
    """Assets that a run materialised, in order."""
    return [event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key]


@contextmanager
def opened(folder: Path, **changes: str) -> Iterator[House]:
    """The house in a folder that holds at least `prima.sqlite`, with changes to its environment."""
    (folder / "dagster").mkdir(exist_ok=True)
    with (
        sandbox(folder) as (emarsys, environment),
        pytest.MonkeyPatch.context() as patch,
        dg.DagsterInstance.local_temp(str(folder / "dagster"), overrides=_STILL) as instance,
    ):
        for name, value in (environment | changes).items():
            patch.setenv(name, value)
        yield House(folder, emarsys, instance, environment | changes)


@pytest.fixture(scope="session")
def first_sync(made_once: MadeOnce) -> Path:
    """Folder of a house after its first sync; to be copied, never to be opened."""

    def make(folder: Path) -> None:
        made_at = datetime.now(UTC) - timedelta(minutes=20)
        build(f"sqlite:///{folder / 'prima.sqlite'}", customers=CUSTOMERS, now=made_at)
        with opened(folder) as house:
            result = house.run()
            assert result.success, failures(result)

    return made_once("first-sync", make)


@contextmanager
def in_step(first_sync: Path, folder: Path, **changes: str) -> Iterator[House]:
    """A copy of the house after its first sync."""
    shutil.copytree(first_sync, folder)
    with opened(folder, **changes) as house:
        yield house


@contextmanager
def untouched(first_sync: Path, folder: Path, **changes: str) -> Iterator[House]:
    """The same Prima, of which nothing has been read or sent yet."""
    folder.mkdir()
    shutil.copy(first_sync / "prima.sqlite", folder)
    with opened(folder, **changes) as house:
        yield house


@pytest.fixture
def house(first_sync: Path, tmp_path: Path) -> Iterator[House]:
    """A house in step, of this test's own."""
    with in_step(first_sync, tmp_path / "house") as found:
        yield found
