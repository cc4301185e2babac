"""The work of one item, the same for every contender: the prompt, the schema, and what is made of an answer."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import msgspec

MODEL = "stub"
PROMPT = "Extract: item {number} is a thing that costs 12."
VALUE = {"name": "thing", "price": 12, "tags": ["a", "b"], "in_stock": True, "note": "made for measuring"}
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": list(VALUE),
    "properties": {
        "name": {"type": "string"},
        "price": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "in_stock": {"type": "boolean"},
        "note": {"type": "string"},
    },
}
_validator = jsonschema_rs.validator_for(SCHEMA, validate_formats=True)


def request(number: int) -> dict[str, Any]:
    """Return the arguments of `client.chat.completions.create` for item `number`."""
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": PROMPT.format(number=number)}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "record", "schema": SCHEMA, "strict": True},
        },
    }


def row(number: int, content: str | None) -> bytes:
    """Return the row of item `number`, with its line feed. Raises for an answer that is invalid under the schema."""
    value = msgspec.json.decode(content or "")
    _validator.validate(value)
    return msgspec.json.encode({"custom_id": str(number), "value": value}) + b"\n"
