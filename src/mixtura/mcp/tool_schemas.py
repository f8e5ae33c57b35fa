"""The tools as agents see them: names, descriptions, and JSON schemas of what goes in and out."""

from __future__ import annotations

from typing import Any, NamedTuple

from mixtura.core.json_schema import object_schema
from mixtura.patterns.review import REVIEW_SCHEMA

Schema = dict[str, Any]
MAX_TEXT_CHARS = 2_000_000
"""Characters of a question or an attachment: more fits into no model's window."""
MAX_PICTURE_CHARS = 28_000_000
"""Characters of a picture's base64: no provider takes a larger one than 20 MB."""
MAX_COMPARED = 8
"""Models or mixtures of one comparison: each of them is paid for."""


class ToolSchema(NamedTuple):
    """One tool: what it does, what it takes, and what it gives."""

    name: str
    title: str
    description: str
    takes: Schema
    gives: Schema


_TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT_CHARS, "pattern": r"\S"}
_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 200}
_DOLLARS: Schema = {"type": ["number", "null"], "description": "Dollars; null: unknown."}
_RUN: Schema = {"type": ["string", "null"], "description": "The run's id; null: it was not kept."}
_MAX_COST: Schema = {
    "type": "number",
    "minimum": 0,
    "description": "Dollars that this call may cost at most. Caps of the configuration hold, too.",
}
_PICTURE: Schema = {
    "type": "string",
    "minLength": 16,
    "maxLength": MAX_PICTURE_CHARS,
    "description": "A PNG, JPEG, GIF or WebP picture as base64.",
}
_ATTACHMENTS: Schema = {
    "type": "array",
    "maxItems": 50,
    "description": "Files that go with the question: texts, and pictures as base64.",
    "items": object_schema({"name": _NAME, "text": _TEXT, "picture": _PICTURE}, "name")
    | {"oneOf": [{"required": ["text"]}, {"required": ["picture"]}]},
}
_ANSWERED: Schema = {
    "mixture": {"type": "string"},
    "answer": {"type": "string"},
    "cost_usd": _DOLLARS,
    "seconds": {"type": "number"},
    "run": _RUN,
    "left_out": {"type": "array", "items": {"type": "string"}},
}

ASK = ToolSchema(
    "ask",
    "Ask several models",
    "Ask a mixture: several language models answer independently, and one answer is made of"
    " theirs. For a second opinion or a hard question. It costs money and takes a while.",
    object_schema(
        {
            "question": _TEXT | {"description": "All that the models need to know to answer."},
            "mixture": _NAME | {"description": "A name that the tool `models` lists."},
            "attachments": _ATTACHMENTS,
            "agreement": {
                "type": "boolean",
                "description": "Also report where the proposals agree: one call more.",
            },
            "max_cost_usd": _MAX_COST,
        },
        "question",
    ),
    object_schema(
        _ANSWERED
        | {
            "agreement": {"type": ["object", "null"]},
            "confidence": {"type": ["number", "null"]},
            "support": {"type": ["object", "null"]},
        },
        *_ANSWERED, "agreement", "confidence", "support",
    ),
)  # fmt: skip
REVIEW = ToolSchema(
    "review",
    "Review with several models",
    "Have several models review a diff or a text. Equal findings are merged; each has its place,"
    " its severity, a quote, and how many members found it.",
    object_schema(
        {
            "text": _TEXT | {"description": "The diff or the text."},
            "question": _TEXT | {"description": "What to look for."},
            "mixture": _NAME | {"description": "A mixture whose pattern is `review`."},
            "max_cost_usd": _MAX_COST,
        },
        "text",
    ),
    object_schema(
        {"review": REVIEW_SCHEMA, "cost_usd": _DOLLARS, "seconds": {"type": "number"}, "run": _RUN},
        "review", "cost_usd", "seconds", "run",
    ),
)  # fmt: skip
COMPARE = ToolSchema(
    "compare",
    "Compare answers side by side",
    "Ask two or more models or mixtures the same question and get each one's own answer.",
    object_schema(
        {
            "question": _TEXT,
            "mixtures": {
                "type": "array",
                "items": _NAME,
                "minItems": 2,
                "maxItems": MAX_COMPARED,
                "uniqueItems": True,
                "description": "Names that the tool `models` lists.",
            },
            "max_cost_usd": _MAX_COST | {"description": "Dollars that each may cost at most."},
        },
        "question", "mixtures",
    ),
    object_schema(
        {
            "answers": {
                "type": "array",
                "items": object_schema(
                    _ANSWERED
                    | {
                        "answer": {"type": ["string", "null"]},
                        "seconds": {"type": ["number", "null"]},
                        "error": {"type": ["string", "null"]},
                    },
                    *_ANSWERED, "error",
                ),
            }
        },
        "answers",
    ),
)  # fmt: skip
MODELS = ToolSchema(
    "models",
    "List mixtures and models",
    "List the mixtures and models that can answer, and which one answers by default.",
    object_schema({}),
    object_schema(
        {
            "default": {"type": ["string", "null"]},
            "mixtures": {"type": "array", "items": {"type": "string"}},
            "models": {"type": "array", "items": {"type": "string"}},
        },
        "default", "mixtures", "models",
    ),
)  # fmt: skip
TOOLS = {tool.name: tool for tool in (ASK, REVIEW, COMPARE, MODELS)}
