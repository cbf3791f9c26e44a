"""The site file says where it is wrong, line by line; secrets never stand in it; settings come from the environment."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from prima_emarsys.contract import ENTITIES
from prima_emarsys.prima.sql import SqlReader
from prima_emarsys.prima.statements import MappingError
from prima_emarsys.settings import DEFAULT_SITE, SettingsError, load_settings
from prima_emarsys.site import FixedThresholds, Site, SiteError, load_site


def _write(folder: Path, text: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _faults(folder: Path, text: str) -> list[str]:
    """What is wrong with a file, each fault without the folder."""
    path = _write(folder, text)
    with pytest.raises(SiteError) as caught:
        load_site(path)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def test_a_file_that_names_only_the_site_is_whole(tmp_path: Path) -> None:
    site = load_site(_write(tmp_path, "site: shop-test\n"))
    assert (site.site, site.time_zone, site.prima.url) == ("shop-test", "Europe/London", "${PRIMA_URL}")
    assert site.prima.entity("stock").table is None
    assert site.prima.overlap == timedelta(minutes=15)


def test_the_files_that_we_ship_are_sound() -> None:
    assert load_site(DEFAULT_SITE).site == "sandbox"
    example = Path(__file__).parents[1] / "sites" / "openedge-example.yaml"
    assert load_site(example).prima.entities


FAULTS: dict[str, tuple[str, list[str]]] = {
    "an unknown key": (
        "site: s\nprima:\n  page_row: 5\n",
        ["site.yaml:3: prima.page_row: is no known setting here; see docs/site-file.md"],
    ),
    "a value out of bounds": (
        "site: s\nprima:\n\n  page_rows: 5\n",
        ["site.yaml:4: prima.page_rows: Input should be greater than or equal to 100"],
    ),
    "an unknown entity": (
        "site: s\nprima:\n  entities:\n    orders:\n      table: X\n",
        [f"site.yaml:4: prima.entities.orders: no such entity; the contract has {', '.join(ENTITIES)}"],
    ),
    "an unknown column": (
        "site: s\nprima:\n  entities:\n    company:\n      columns:\n        name: N\n        shoe: S\n",
        [
            "site.yaml:7: prima.entities.company.columns.shoe: no such column; "
            "it has company, name, base_currency, country, changed_at"
        ],
    ),
    "a required column that comes from nowhere": (
        "site: s\nprima:\n  entities:\n    company:\n      columns:\n        base_currency: null\n",
        ["site.yaml:6: prima.entities.company.columns.base_currency: is required and must come from somewhere"],
    ),
    "date and seconds where no time belongs": (
        "site: s\nprima:\n  entities:\n    company:\n      columns:\n        name: {date: D, seconds: S}\n",
        ["site.yaml:6: prima.entities.company.columns.name: date + seconds fit only a timestamp column"],
    ),
    "a word that the contract does not have": (
        "site: s\nprima:\n  entities:\n    credit_note:\n      words:\n        status: {Posted: done}\n",
        ["site.yaml:6: prima.entities.credit_note.words.status.Posted: 'done' is none of: draft, finalised, cancelled"],
    ),
    "words of a column that has none": (
        "site: s\nprima:\n  entities:\n    company:\n      words:\n        name: {A: B}\n",
        ["site.yaml:6: prima.entities.company.words.name: is no column with a list of words"],
    ),
    "companies that the entry point cannot be told": (
        "site: s\nprima:\n  webservice: {companies: ['1', '2']}\n",
        [
            "site.yaml:3: prima.webservice: companies: wsomhandler answers for one company; name one, or use "
            "comwsomhandler"
        ],
    ),
    "a user without a password": (
        "site: s\nprima:\n  webservice: {user: '${WHO}'}\n",
        ["site.yaml:3: prima.webservice: user and password go together"],
    ),
    "a declared request of no entity": (
        "site: s\nprima:\n  webservice:\n    requests:\n      orders: {type: T, rows: Data/O, columns: {}}\n",
        [f"site.yaml:5: prima.webservice.requests.orders: no such entity; the contract has {', '.join(ENTITIES)}"],
    ),
    "a declared request without a required column": (
        "site: s\nprima:\n  webservice:\n    requests:\n      company: {type: T, rows: Data/C, columns: {name: N}}\n",
        ["site.yaml:5: prima.webservice.requests.company.columns: required columns come from nowhere: base_currency"],
    ),
    "a rule without a condition": (
        "site: s\nidentity:\n  internal:\n    - name: staff\n      codes: [A]\n    - name: all\n",
        ["site.yaml:6: identity.internal.1: rule 'all' has no condition and would exclude everybody"],
    ),
    "no such zone": (
        "site: s\ntime_zone: London\n",
        ["site.yaml:2: time_zone: 'London' is no time zone; use a name such as Europe/London"],
    ),
    "limits that do not rise": (
        "site: s\nattributes:\n  rfm:\n    method: thresholds\n    recency_days: [30, 90, 90, 365]\n"
        "    frequency_orders: [2, 3, 5, 10]\n    monetary_net: [50, 200, 500, 1000]\n",
        ["site.yaml:3: attributes.rfm: recency_days: the four limits must rise, got [30, 90, 90, 365]"],
    ),
    "an unknown method": (
        "site: s\nattributes:\n  rfm:\n    method: deciles\n",
        [
            "site.yaml:3: attributes.rfm: Input tag 'deciles' found using 'method' does not match any of the "
            "expected tags: 'quintiles', 'thresholds'"
        ],
    ),
    "stages out of order": (
        "site: s\nattributes: {active_days: 90, inactive_days: 90}\n",
        ["site.yaml:2: attributes: inactive_days must be above active_days"],
    ),
    "an unknown kind of exception": (
        "site: s\nowners:\n  bad-mail: finance\n",
        ["site.yaml:3: owners.bad-mail: no such kind of exception; there are "],
    ),
    "an order id that leaves the order out": (
        "site: s\nemarsys:\n  sales:\n    order_id: '{company}'\n",
        [
            "site.yaml:4: emarsys.sales.order_id: '{company}' must hold {order_number}, "
            "and may hold {company} and {order_number} only"
        ],
    ),
    "an order id with an unknown name": (
        "site: s\nemarsys:\n  sales:\n    order_id: '{order_number}-{customer}'\n    credit_id: 'K{credit_number'\n",
        [
            "site.yaml:4: emarsys.sales.order_id: '{order_number}-{customer}' must hold {order_number}, and may",
            "site.yaml:5: emarsys.sales.credit_id: 'K{credit_number' is no template: ",
        ],
    ),
    "a currency that is none": (
        "site: s\nemarsys:\n  sales:\n    currency: pounds\n",
        ["site.yaml:4: emarsys.sales.currency: String should match pattern '^[A-Z]{3}$'"],
    ),
    "several faults at once": (
        "site: Shop\nprima:\n  page_rows: x\nemarsys:\n  api: v1\n  parallel: 9\n",
        [
            "site.yaml:1: site: String should match pattern '^[a-z][a-z0-9-]*$'",
            "site.yaml:3: prima.page_rows: Input should be a valid integer",
            "site.yaml:5: emarsys.api: Input should be 'v3' or 'v2'",
            "site.yaml:6: emarsys.parallel: Input should be less than or equal to 8",
        ],
    ),
    "no site at all": ("prima: {}\n", ["site.yaml:1: site: Field required"]),
    "no mapping": ("- a\n- b\n", ["site.yaml: must be a mapping that begins with `site: name`"]),
    "an empty file": ("", ["site.yaml: must be a mapping that begins with `site: name`"]),
    "no YAML": ("site: s\nprima: [\n", ["site.yaml:3: is no valid YAML: "]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_names_file_line_key_what_is_wrong_and_what_is_allowed(tmp_path: Path, fault: str) -> None:
    text, expected = FAULTS[fault]
    found = _faults(tmp_path, text)
    assert len(found) == len(expected)
    for line, beginning in zip(found, expected, strict=True):
        assert line.startswith(beginning), line


@pytest.mark.parametrize(
    "key",
    [
        "prima: {url: VALUE}",
        "prima: {webservice: {wsdl: VALUE}}",
        "emarsys: {secret: VALUE}",
        "emarsys: {client: VALUE}",
        "emarsys: {token_url: VALUE}",
        "emarsys: {sales: {token: VALUE}}",
        "emarsys: {sales: {password: VALUE}}",
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path, key: str) -> None:
    secret = "postgresql://prima:hunter2@db/prima"
    [fault] = _faults(tmp_path, f"site: s\n{key.replace('VALUE', secret)}\n")
    assert "must be a reference to the environment such as ${PRIMA_URL}; a secret never stands in a file" in fault
    assert "hunter2" not in fault
    partly = '"x${PRIMA_URL}"'
    [fault] = _faults(tmp_path, f"site: s\n{key.replace('VALUE', partly)}\n")
    assert "must be a reference" in fault


def test_a_file_that_is_not_there_is_named_with_the_setting_that_names_another(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match=r"nowhere\.yaml: cannot be read \(No such file.*PRIMA_EMARSYS_SITE"):
        load_site(tmp_path / "nowhere.yaml")


def test_fixed_thresholds_are_chosen_by_their_method(tmp_path: Path) -> None:
    text = (
        "site: s\nattributes:\n  rfm:\n    method: thresholds\n    recency_days: [30, 90, 180, 365]\n"
        "    frequency_orders: [2, 3, 5, 10]\n    monetary_net: ['50.00', 200, 500, 1000]\n"
    )
    assert isinstance(load_site(_write(tmp_path, text)).attributes.rfm, FixedThresholds)


INJECTIONS = [
    'sales_order"; DROP TABLE sales_order; --',
    "sales_order'; DROP TABLE sales_order; --",
    "a] ; DROP TABLE b",
]


@pytest.mark.parametrize("name", INJECTIONS)
def test_sql_as_a_name_is_refused_as_a_name_that_nobody_has(tmp_path: Path, name: str) -> None:
    url = f"sqlite:///{tmp_path / 'prima.db'}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        columns = ", ".join(f'"{column}" TEXT' for column in ENTITIES["sales_order"].column)
        connection.exec_driver_sql(f"CREATE TABLE sales_order ({columns})")
    for entity_map in ({"table": name}, {"columns": {"order_number": name}}, {"schema": name}):
        reader = SqlReader(url, Site.model_validate({"site": "s", "prima": {"entities": {"sales_order": entity_map}}}))
        with pytest.raises(Exception) as caught:  # noqa: PT011 (which one depends on what the name names)
            list(reader.everything(ENTITIES["sales_order"]))
        reader.close()
        if "schema" not in entity_map:
            assert isinstance(caught.value, MappingError)
    hostile = {"column": "order_number", "value": "'; DROP TABLE sales_order; --"}
    site = Site.model_validate({"site": "s", "prima": {"entities": {"sales_order": {"filters": [hostile]}}}})
    reader = SqlReader(url, site)
    assert list(reader.everything(ENTITIES["sales_order"])) == []
    reader.close()
    assert sa.inspect(engine).get_table_names() == ["sales_order"]
    engine.dispose()


# --- settings -------------------------------------------------------------------------------------------------------


def test_settings_come_from_the_environment_and_from_the_files_that_it_names(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n", encoding="utf-8")
    settings = load_settings(
        {
            "PRIMA_EMARSYS_HOME": str(tmp_path),
            "PRIMA_URL": "sqlite:///prima.db",
            "EMARSYS_CLIENT_SECRET_FILE": str(secret),
            "PRIMA_EMARSYS_HASH_KEY": "k" * 32,
        }
    )
    assert settings.site.site == "sandbox"
    assert settings.secret("${PRIMA_URL}").get_secret_value() == "sqlite:///prima.db"
    assert settings.secret("${EMARSYS_CLIENT_SECRET}").get_secret_value() == "hunter2"
    assert settings.hash_key == b"k" * 32
    assert settings.warehouse_url.get_secret_value() == f"duckdb:///{tmp_path / 'warehouse.duckdb'}"
    assert settings.ledger_url.get_secret_value() == f"sqlite:///{tmp_path / 'ledger.sqlite'}"


def test_a_missing_variable_is_named_with_both_ways_to_set_it(tmp_path: Path) -> None:
    settings = load_settings({"PRIMA_EMARSYS_HOME": str(tmp_path), "PRIMA_URL_FILE": str(tmp_path / "none")})
    with pytest.raises(SettingsError, match="EMARSYS_CLIENT_ID is not set. Set it, or EMARSYS_CLIENT_ID_FILE"):
        settings.secret("${EMARSYS_CLIENT_ID}")
    with pytest.raises(SettingsError, match="PRIMA_URL_FILE names .*none, which cannot be read"):
        settings.secret("${PRIMA_URL}")


def test_addresses_with_credentials_are_never_shown(tmp_path: Path) -> None:
    url = "postgresql+psycopg://prima:hunter2@db/ledger"
    environment = {"PRIMA_EMARSYS_HOME": str(tmp_path), "PRIMA_EMARSYS_LEDGER": url, "PRIMA_EMARSYS_WAREHOUSE": url}
    settings = load_settings(environment)
    assert settings.ledger_url.get_secret_value() == url
    assert "hunter2" not in str(settings.ledger_url) + repr(settings.warehouse_url)
    assert "hunter2" not in repr(settings)


def test_a_bad_site_file_stops_the_settings_with_its_own_words(tmp_path: Path) -> None:
    path = _write(tmp_path, "site: s\nprima: {page_row: 5}\n")
    with pytest.raises(SettingsError, match=r"site\.yaml:2: prima\.page_row: is no known setting here"):
        load_settings({"PRIMA_EMARSYS_SITE": str(path)})
