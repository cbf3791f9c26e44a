"""What an operator sees of the forecasts: the model, what it is worth, and a picture that stays small."""

from __future__ import annotations

import re
import secrets
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from prima_emarsys.defs.emarsys.predictions import predicted_value
from prima_emarsys.defs.resources import ProjectResource
from prima_emarsys.defs.showing import bars
from prima_emarsys.steps.predictions import eve_of_week
from prima_emarsys.warehouse import open_warehouse
from prima_emarsys_tests.defs.house import checks, metadata
from prima_emarsys_tests.steps.test_predictions import SUNDAY, put, shop

PICTURE = re.compile(r"!\[.+\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dg.ExecuteInProcessResult]]:
    """Two materialisations, one after the other, over a shop whose history ends on the eve of this week."""
    folder = tmp_path_factory.mktemp("shop")
    shift = eve_of_week(datetime.now(UTC).date()) - SUNDAY
    with open_warehouse(f"duckdb:///{folder / 'warehouse.duckdb'}") as warehouse:
        put(
            warehouse,
            [one | {"ordered_on": one["ordered_on"] + shift, "posted_on": one["ordered_on"] + shift} for one in shop()],
        )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("HOME", str(folder)), ("HASH_KEY", secrets.token_hex(32))):
            patch.setenv(f"PRIMA_EMARSYS_{name}", value)
        yield [dg.materialize([predicted_value], resources={"project": ProjectResource()}) for _ in range(2)]


def seen(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    assert result.success
    return metadata(result, "emarsys/predicted_value")


def test_the_run_that_fits_shows_the_model_and_its_worth(shown: list[dg.ExecuteInProcessResult]) -> None:
    found = seen(shown[0])
    assert found["fitted by this run"] is True
    assert found["changed"] == found["dagster/row_count"] == found["persons in the sample"] > 500
    assert found["read"] == found["dagster/row_count"] + found["excluded"]
    for parameter in ("r", "alpha, in weeks", "a", "b", "log-likelihood", "p", "q", "v, in base currency"):
        assert f"| {parameter} | " in found["parameters"]
    assert "| 7+ | " in found["calibration"]
    assert checks(shown[0]) == {
        "emarsys/predicted_value:model_is_sound": True,
        "emarsys/predicted_value:holdout_is_met": True,
    }


def test_a_later_run_of_the_week_shows_the_same_model(shown: list[dg.ExecuteInProcessResult]) -> None:
    first, later = seen(shown[0]), seen(shown[1])
    assert (later["fitted by this run"], later["changed"]) == (False, 0)
    assert later["unchanged"] == later["dagster/row_count"] == first["dagster/row_count"]
    same = ("model of", "fitted on", "parameters", "calibration", "calibration plot")
    assert {name: later[name] for name in same} == {name: first[name] for name in same}


def test_the_picture_is_one_and_small(shown: list[dg.ExecuteInProcessResult]) -> None:
    found = PICTURE.fullmatch(seen(shown[0])["calibration plot"])
    assert found
    picture = b64decode(found[1])
    assert picture.startswith(b"\x89PNG\r\n")
    assert 1_000 < len(picture) <= 14_000


def test_a_picture_that_would_not_be_small_is_refused() -> None:
    noise = {f"series {number}": [hash((number, place)) % 97 for place in range(200)] for number in range(8)}
    with pytest.raises(ValueError, match="the picture 'Noise' has"):
        bars("Noise", [str(place) for place in range(200)], noise)
