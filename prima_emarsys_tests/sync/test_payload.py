"""JSON objects of a lane, put together a column at a time."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from prima_emarsys.sync.payload import canonical, json_objects

# Whatever can be UTF-8; the characters that JSON must escape come often.
_TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.text(alphabet='a"\\\n\t\x00\x1f\x7fé😀')
_ROWS = st.lists(st.fixed_dictionaries({name: st.none() | _TEXT for name in ("1", "10", "3")}), min_size=1, max_size=8)


@settings(deadline=None)
@given(_ROWS)
def test_objects_are_what_the_canonical_form_of_their_values_is(rows: list[dict[str, str | None]]) -> None:
    columns = {name: pa.chunked_array([pa.array([row[name] for row in rows], pa.string())]) for name in sorted(rows[0])}
    assert json_objects(columns) == [
        canonical({name: value for name, value in row.items() if value is not None}) for row in rows
    ]


def test_no_rows_make_no_objects() -> None:
    assert json_objects({"1": pa.chunked_array([pa.array([], pa.string())])}) == []
