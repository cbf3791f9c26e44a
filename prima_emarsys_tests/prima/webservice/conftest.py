"""A reader of a local Prima's web service; retries do not wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stamina

from prima_emarsys.prima.webservice import Access, WebServiceReader
from prima_emarsys.sandbox.prima.server import LocalPrima
from prima_emarsys.site import Site
from prima_emarsys_tests.sandbox.prima.conftest import built, prima, world

__all__ = ["built", "prima", "world"]

TRIES = 3
Read = Callable[..., WebServiceReader]


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=TRIES):
        yield


def site(**service: Any) -> Site:
    return Site.model_validate({"site": "test", "prima": {"page_rows": 2_000, "webservice": service}})


@pytest.fixture
def reader(prima: LocalPrima, tmp_path: Path) -> Iterator[Read]:
    """Makes readers of the local Prima; keys of `access` go to the way in, the others are the site file's."""
    made: list[WebServiceReader] = []

    def make(access: dict[str, Any] | None = None, **service: Any) -> WebServiceReader:
        way = {"wsdl": prima.wsdl, "entry_point": service.get("entry_point", "wsomhandler"), **(access or {})}
        made.append(WebServiceReader(Access(**way), site(**service), tmp_path / "state"))
        return made[-1]

    yield make
    for one in made:
        one.close()
