from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.core.org_fit.fields import DATETIME
from pipeline.core.scoring.digest import digests, hash_field, normalise, stored_digests
from tests.core.support import field, integration

DIGITS = st.text("0123456789abcdef", min_size=20, max_size=20)
TAGS = st.lists(
    st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True), min_size=1, max_size=10, unique=True
).map(lambda names: sorted({integration(market_name=name).tag for name in names}))
MOMENTS = st.datetimes(timezones=st.just(UTC))
TEXTS = st.text(st.sampled_from("ab:01 \n\r\t\x00éß😀"), max_size=6)


def texts(*values: str | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.string())])


def digest(value: Any, kind: pa.DataType) -> str:
    table = pa.table({"field": pa.array([value], kind)})
    return str(digests(table, ["field"])[0].as_py())


def plain(value: str) -> str:
    """Text as the rules say it is compared, worked out without Arrow."""
    return value.replace("\x00", "").replace("\r\n", "\n").replace("\r", "\n").strip(" \t\n\v\f\r")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a\r\nb", "a\nb"),
        ("a\rb", "a\nb"),
        (None, ""),
        ("  Acme \t\n", "Acme"),
        ("Ac\x00me", "Acme"),
        ("\x00 Acme", "Acme"),
        (" \r\n ", None),
    ],
)
def test_text_that_salesforce_saves_alike_has_one_digest(one: str | None, other: str) -> None:
    """D1: CRLF and LF, null and "", blanks at the ends and NUL are no change."""
    assert digest(one, pa.string()) == digest(other, pa.string())


@pytest.mark.parametrize(
    ("one", "other"),
    [("Acme", "acme"), ("a b", "ab"), ("a\n\nb", "a\nb"), ("\u00a0Acme", "Acme"), ("é", "e\u0301")],
)
def test_text_that_differs_for_salesforce_has_another_digest(one: str, other: str) -> None:
    """D1: case, inner blanks, no-break spaces and code points are values, not spelling."""
    assert digest(one, pa.string()) != digest(other, pa.string())


def test_a_number_has_one_digest_however_it_was_written() -> None:
    """D1: REST says 87, Bulk says 87.0; an integer field and a double field agree as well."""
    assert digest(87.0, pa.float64()) == digest(float("87"), pa.float64())
    assert digest(87, pa.int64()) == digest("87", pa.string()) == digest(87.0, pa.float64())
    assert digest(1.6147805824397e13, pa.float64()) == digest(
        float("1.6147805824397E13"), pa.float64()
    )


def test_minus_zero_is_zero() -> None:
    """D1: a rounding formula may give either."""
    assert digest(-0.0, pa.float64()) == digest(0.0, pa.float64())


@pytest.mark.parametrize("kind", [pa.float64(), pa.int64()])
def test_zero_is_not_null(kind: pa.DataType) -> None:
    """D1: a number that was cleared has changed."""
    assert digest(0, kind) != digest(None, kind)


def test_an_unchecked_box_is_the_same_as_one_never_set() -> None:
    """D1: a checkbox is never null in the org, but may be in a file."""
    assert digest(None, pa.bool_()) == digest(False, pa.bool_())
    assert digest(True, pa.bool_()) != digest(False, pa.bool_())


def test_one_instant_has_one_digest_in_every_time_zone() -> None:
    """D1: `Z` and an offset are typed before they are compared."""
    spellings = [
        "2026-03-29T03:30:00.123+0200",
        "2026-03-29T01:30:00.123Z",
        "2026-03-29T01:30:00.124Z",
    ]
    table = pa.table({"at": pc.cast(pa.array(spellings), DATETIME)})
    here, there, later = digests(table, ["at"]).to_pylist()

    assert here == there
    assert here != later


def test_dates_are_compared_as_dates() -> None:
    """D1: a date has one spelling."""
    assert digest(date(2026, 1, 2), pa.date32()) == digest("2026-01-02", pa.string())


@pytest.mark.parametrize("joint", [":", "", "1:", ":1:", "0"])
def test_values_that_join_alike_are_told_apart(joint: str) -> None:
    """D1: each value is preceded by its length."""
    table = pa.table({"a": [f"x{joint}y", "x", ""], "b": ["z", f"y{joint}z", f"x{joint}y{joint}z"]})

    assert len(set(digests(table, ["a", "b"]).to_pylist())) == 3


@given(TEXTS, st.integers(0, 6), st.integers(0, 6), st.sampled_from(["", ":", "1:", "2:"]))
def test_one_text_cut_in_two_places_is_two_records(
    text: str, one: int, other: int, joint: str
) -> None:
    """D1: however the parts are put together again."""
    rows = [(text[:at].removesuffix(joint), text[at:].removeprefix(joint)) for at in (one, other)]
    table = pa.table({"a": [row[0] for row in rows], "b": [row[1] for row in rows]})
    first, second = digests(table, ["a", "b"]).to_pylist()

    assert (first == second) == ([plain(v) for v in rows[0]] == [plain(v) for v in rows[1]])


def test_order_of_the_fields_counts() -> None:
    """D1: two inputs that swap their values have changed."""
    table = pa.table({"a": ["x"], "b": ["y"]})

    assert digests(table, ["a", "b"])[0] != digests(table, ["b", "a"])[0]


def test_an_empty_table_has_no_digests() -> None:
    """D1: no rows, no digests; the type stands."""
    table = pa.table({"a": pa.array([], pa.string())})

    assert digests(table, ["a"]).to_pylist() == []
    assert digests(table, ["a"]).type == pa.string()


def test_the_hash_field_of_ten_markets_fits_255_characters() -> None:
    """D1: the field is a TextArea(255)."""
    entries = {integration(market_name=f"m{n}").tag: pa.array(["0" * 20]) for n in range(10)}
    written = hash_field(entries)[0].as_py()

    assert len(entries) == 10
    assert len(written) == 251
    assert written.isascii()


def test_a_digest_is_read_back_for_its_own_market_only() -> None:
    """D1: one entry a market."""
    hashes = pa.chunked_array(
        [hash_field({"aaaa": pa.array(["0" * 20]), "bbbb": pa.array(["1" * 20])})]
    )

    assert stored_digests(hashes, "aaaa").to_pylist() == ["0" * 20]
    assert stored_digests(hashes, "bbbb").to_pylist() == ["1" * 20]
    assert stored_digests(hashes, "cccc").to_pylist() == [None]


def test_a_tag_inside_another_entry_is_not_mistaken_for_one() -> None:
    """D1: tags are looked for where entries begin, and nowhere else."""
    hidden = "1.aaaa" + ".bbbb" + "0" * 15 + ".cccc" + "1" * 20

    assert stored_digests(texts(hidden), "bbbb").to_pylist() == [None]
    assert stored_digests(texts(hidden), "cccc").to_pylist() == ["1" * 20]
    assert stored_digests(texts("1.aa.bbbb" + "0" * 20), "bbbb").to_pylist() == [None]


@pytest.mark.parametrize(
    "foreign",
    [
        None,
        "",
        "1",
        "2.aaaa" + "0" * 20,
        "0.aaaa" + "0" * 20,
        "1.aaaa" + "0" * 19,
        "1.aaaa" + "g" * 20,
        "x1.aaaa" + "0" * 20,
    ],
)
def test_a_hash_of_an_unknown_version_or_form_keeps_no_digest(foreign: str | None) -> None:
    """D1: what cannot be read counts as never scored."""
    assert stored_digests(texts(foreign), "aaaa").to_pylist() == [None]


def test_tags_with_signs_of_regular_expressions_are_read_back() -> None:
    """D1: base64 for web addresses has - and _."""
    for tag in ("a-b_", "-_-_", "____"):
        hashes = pa.chunked_array([hash_field({tag: pa.array(["0" * 20])})])

        assert stored_digests(hashes, tag).to_pylist() == ["0" * 20]


@given(st.lists(TEXTS, min_size=1, max_size=3), st.lists(TEXTS, min_size=1, max_size=3))
def test_digests_are_equal_exactly_where_normalised_values_are(
    one: list[str], other: list[str]
) -> None:
    """D1: nothing collides by being joined, nothing differs by spelling."""
    assume(len(one) == len(other))
    names = [f"f{n}" for n in range(len(one))]
    table = pa.table({name: [a, b] for name, a, b in zip(names, one, other, strict=True)})
    first, second = digests(table, names).to_pylist()

    assert (first == second) == ([plain(v) for v in one] == [plain(v) for v in other])


@given(
    st.lists(st.tuples(TEXTS | st.none(), st.floats(allow_nan=False) | st.none()), max_size=8),
    st.data(),
)
def test_a_digest_does_not_depend_on_how_arrow_cuts_columns(
    rows: list[tuple[str | None, float | None]], data: st.DataObject
) -> None:
    """D1: REST pages and bulk pages cut the same rows differently."""
    text = pa.array([row[0] for row in rows], pa.string())
    number = pa.array([row[1] for row in rows], pa.float64())
    whole = pa.table({"a": text, "b": number})
    cuts = [data.draw(st.integers(0, len(rows))) for _ in range(2)]
    cut = pa.table(
        {
            "a": pa.chunked_array([text[: cuts[0]], text[cuts[0] :]], pa.string()),
            "b": pa.chunked_array([number[: cuts[1]], number[cuts[1] :]], pa.float64()),
        }
    )

    assert digests(cut, ["a", "b"]).to_pylist() == digests(whole, ["a", "b"]).to_pylist()


@given(
    st.integers(-(10**9), 10**9),
    MOMENTS,
    st.booleans(),
)
def test_rest_and_bulk_spellings_of_one_record_have_one_digest(
    number: int, instant: datetime, flag: bool
) -> None:
    """D1: 87 and 87.0, +0000 and Z, null and "" agree once they are typed."""
    at = instant.replace(microsecond=0, tzinfo=None)
    rest = {
        "Amount": float(str(number)),
        "At": datetime.fromisoformat(f"{at.isoformat()}.000+00:00"),
        "Flag": flag,
        "Note": None,
    }
    bulk = {
        "Amount": float(f"{number}.0"),
        "At": datetime.fromisoformat(f"{at.isoformat()}.000Z"),
        "Flag": str(flag).lower() == "true",
        "Note": "",
    }
    kinds = {"Amount": "double", "At": "datetime", "Flag": "boolean", "Note": "string"}
    table = pa.table(
        {
            name: pa.array([rest[name], bulk[name]], field(name, kind).arrow_type)
            for name, kind in kinds.items()
        }
    )

    assert len(set(digests(table, list(kinds)).to_pylist())) == 1


@given(TAGS, st.data())
def test_what_is_written_is_what_is_read_back(tags: list[str], data: st.DataObject) -> None:
    """D1: every market finds its own digest, or none, whatever the others are."""
    rows = data.draw(st.integers(1, 4))
    entries = {
        tag: data.draw(st.lists(DIGITS | st.none(), min_size=rows, max_size=rows)) for tag in tags
    }
    written = hash_field({tag: pa.array(column, pa.string()) for tag, column in entries.items()})

    assert pc.max(pc.utf8_length(written)).as_py() <= 255
    for tag, column in entries.items():
        assert stored_digests(pa.chunked_array([written]), tag).to_pylist() == column


@given(st.lists(TEXTS | st.none(), max_size=5))
def test_normalising_twice_changes_nothing(values: list[str | None]) -> None:
    """D1: what Salesforce gives back of what it saved reads the same."""
    once = normalise(texts(*values))

    assert normalise(once).to_pylist() == once.to_pylist()
