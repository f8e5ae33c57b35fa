"""JSON Schema: what does not match, with its place; references stay inside the schema."""

from __future__ import annotations

import itertools

import pytest

from mixtura.core.json_schema import (
    SchemaError,
    check_schema,
    find_mismatches,
    requires_everything,
)


def test_a_mismatch_says_where_and_what_would_be_right():
    people = {"items": {"properties": {"age": {"type": "integer"}}, "required": ["name"]}}
    data = {"people": [{"name": "Ada", "age": "36"}, {"my key": 1}]}
    found = find_mismatches({"properties": {"people": people}}, data)

    assert found == [
        "$.people[0].age: '36' is not of type 'integer'",
        "$.people[1]: 'name' is a required property",
    ]


def test_a_schema_that_leads_in_a_circle_ends():
    with pytest.raises(SchemaError, match="in a circle"):
        find_mismatches({"$ref": "#"}, 1)


def test_a_long_list_of_mismatches_is_cut():
    assert len(find_mismatches({"items": {"type": "string"}}, list(itertools.repeat(1, 99)))) == 20


@pytest.mark.parametrize("address", ["https://example.com/schema.json", "#/$defs/nowhere"])
def test_a_reference_that_leads_out_of_the_schema_is_refused_and_never_fetched(address):
    with pytest.raises(SchemaError, match="a reference leads nowhere"):
        find_mismatches({"$ref": address}, 1)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "no such type"}, r"\$\.type: "),
        ({"properties": {"a": {"minimum": "1"}}}, r"\$\.properties\.a\.minimum: "),
        ([], r"\$: "),
    ],
)
def test_what_is_no_schema_is_told_with_its_place(schema, said):
    with pytest.raises(SchemaError, match=said):
        check_schema(schema)


def test_a_long_value_is_quoted_in_part():
    assert len(find_mismatches({"type": "integer"}, "x" * 10_000)[0]) < 300


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        ({"type": "object", "properties": {}, "additionalProperties": False}, True),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, False),
        ({"type": "object", "properties": {"a": {}}, "required": ["a"]}, False),
        ({"type": "array", "items": {"type": "object"}}, False),
        ({"type": "string"}, True),
    ],
)
def test_only_a_schema_that_leaves_nothing_open_is_kept_strictly(schema, strict):
    assert requires_everything(schema) is strict
