"""What the generated pages promise."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from prima_emarsys.contract import ENTITIES
from prima_emarsys.prima.docs import EXAMPLE, PAGES, keys, views_page
from prima_emarsys.site import load_site
from prima_emarsys_tests.prima.tables import reader

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_the_committed_page_is_what_the_models_say_now(name: str) -> None:
    made = PAGES[name]()
    told = f"run `python -m prima_emarsys.prima.docs docs` and commit docs/{name}"
    assert (DOCS / name).read_text(encoding="utf-8") == made, told


def test_every_key_of_the_site_file_has_a_meaning() -> None:
    assert [path for path, _, _, meaning in keys() if not meaning] == []


def test_the_example_of_a_site_file_loads(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(EXAMPLE, encoding="utf-8")
    assert load_site(file).site == "example-live"


def test_the_views_can_be_created_as_they_stand_and_are_read_as_empty(url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in views_page().split(";\n"):
            if "CREATE VIEW" in statement:
                connection.exec_driver_sql(statement.replace("%", "%%"))
    prima = reader(url)
    for entity in ENTITIES.values():
        assert list(prima.everything(entity)) == []
        assert list(prima.changed(entity, None)) == []
        assert prima.latest(entity) is None
