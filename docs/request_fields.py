"""The directive `request-fields`: a request's fields, from the types that the server reads."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from mixtura.server.openapi import openapi_document

MEANINGS = Path(__file__).parent / "reference" / "request_fields.toml"
Schema = dict[str, Any]
PLURALS = {
    "string": "strings",
    "anything": "anything",
    "whole number": "whole numbers",
    "object": "objects",
}


def load_schemas() -> dict[str, Schema]:
    """Every schema of the server's OpenAPI document, by name."""
    return openapi_document(["default"], [], locked=False)["components"]["schemas"]


def describe_type(schema: Schema) -> str:
    """What may stand in a field, in a few words; null is told as "optional" by the caller."""
    if name := schema.get("$ref"):
        return name.rpartition("/")[2]
    if "enum" in schema:
        return " or ".join(f'"{value}"' for value in schema["enum"])
    if "const" in schema:
        return f'"{schema["const"]}"'
    if forms := schema.get("anyOf") or schema.get("oneOf"):
        words = [describe_type(form) for form in forms if form.get("type") != "null"]
        return " or ".join(dict.fromkeys(words))
    if schema.get("type") == "array":
        inner = describe_type(schema.get("items", {}))
        return f"list of {PLURALS.get(inner, inner)}"
    return {"boolean": "true or false", "integer": "whole number"}.get(
        schema.get("type", ""), schema.get("type", "anything")
    )


def referenced_names(schema: Any) -> Iterator[str]:
    """The names of the schemas that stand in *schema*, in order."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].rpartition("/")[2]
        for value in schema.values():
            yield from referenced_names(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from referenced_names(value)


def parts_of(name: str, schemas: dict[str, Schema]) -> list[str]:
    """The schemas that a request of type *name* is made of, each once, outermost first."""
    found, waiting = [], [name]
    while waiting:
        one = waiting.pop(0)
        if one not in found:
            found.append(one)
            waiting += referenced_names(schemas[one].get("properties", {}))
    return found[1:]


class RequestFields(SphinxDirective):
    """
    A table of the fields of the schema that is named, with their types and meanings.

    A field without a meaning in ``request_fields.toml`` is an error; so is a meaning of no field.
    """

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table, and one for each part that fields refer to."""
        self.env.note_dependency(str(MEANINGS))
        schemas, name = load_schemas(), self.arguments[0]
        meanings = tomllib.loads(MEANINGS.read_text("utf-8"))
        told = {**meanings["common"], **meanings.get(name, {})}
        fields = schemas[name]["properties"]
        if missing := sorted(set(fields) - set(told)):
            raise self.error(f"{MEANINGS.name} says nothing of {name}: {', '.join(missing)}")
        if left := sorted(set(meanings.get(name, {})) - set(fields)):
            raise self.error(f"{name} has no field {', '.join(left)}")
        required = schemas[name].get("required", [])
        ordered = [*required, *(field for field in fields if field not in required)]
        rows = [
            (field, field in required, describe_type(fields[field]), told[field])
            for field in ordered
        ]
        return [self._table(rows), *self._parts(name, schemas)]

    def _parts(self, name: str, schemas: dict[str, Schema]) -> list[nodes.Node]:
        parts = [part for part in parts_of(name, schemas) if part != "MixtureOptions"]
        listed = nodes.definition_list()
        for part in parts:
            fields = schemas[part].get("properties", {})
            required = schemas[part].get("required", [])
            line = nodes.paragraph()
            for number, (field, schema) in enumerate(fields.items()):
                line += nodes.Text(", " if number else "")
                line += nodes.literal(text=field)
                optional = "" if field in required else ", optional"
                line += nodes.Text(f" ({describe_type(schema)}{optional})")
            listed += nodes.definition_list_item(
                "", nodes.term("", "", nodes.literal(text=part)), nodes.definition("", line)
            )
        if not parts:
            return []
        head = nodes.paragraph(text="The parts that these fields are made of:")
        box = nodes.container(classes=["request-parts"])
        box += [head, listed]
        return [box]

    def _table(self, rows: list[tuple[str, bool, str, str]]) -> nodes.table:
        table, group = nodes.table(classes=["fields"]), nodes.tgroup(cols=3)
        table += group
        group += [nodes.colspec(colwidth=width) for width in (20, 25, 55)]
        head, body = nodes.thead(), nodes.tbody()
        head += _row(*(nodes.paragraph(text=word) for word in ("field", "type", "meaning")))
        for field, required, kind, meaning in rows:
            name = nodes.paragraph("", "", nodes.literal(text=field))
            if required:
                name += nodes.Text(" (required)")
            text, _ = self.parse_inline(meaning)
            body += _row(name, nodes.paragraph(text=kind), nodes.paragraph("", "", *text))
        group += [head, body]
        return table


def _row(*cells: nodes.Node) -> nodes.row:
    return nodes.row("", *(nodes.entry("", cell) for cell in cells))


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls when it loads this."""
    app.add_directive("request-fields", RequestFields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
