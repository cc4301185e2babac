"""`typed_xml`: answers as XML elements whose `dtype` says what they are.

Prose and code fences around the elements are ignored. The parser is hardened: entities and document types are refused.
"""

from __future__ import annotations

import math
import re
from typing import Any
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

from headrace.chat.messages import as_json
from headrace.errors import CallError, InputError
from headrace.text.quoting import quoted
from headrace.text.reasoning import without_reasoning

TEMPLATE = """{instructions}
Answer in XML and nothing else: no XML header, no words around it. Give every element a `dtype`, one of str (the default),
int, float, bool, dict, list. For example:
<order dtype="dict">
  <customer>Ada</customer>
  <units dtype="int">3</units>
  <price dtype="float">9.5</price>
  <paid dtype="bool">true</paid>
  <address dtype="dict"><city>Bern</city></address>
  <tags dtype="list"><item>new</item><item>gift</item></tags>
  <lines dtype="list"><item dtype="dict"><sku>A-1</sku></item></lines>
</order>"""
MAX_DEPTH = 200
MAX_TAGS = 100_000
"""That begin or end an element: each element takes half a kilobyte."""
STRAY = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#\d+|#x[0-9a-fA-F]+);)|<(?![/A-Za-z_!?])")
DECLARATION = re.compile(r"<\?xml[^<>]*\?>")
NAME = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
TRUE, FALSE = {"true", "1", "yes"}, {"false", "0", "no"}
LIMITS = (
    "enum", "format", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
    "maxLength", "minItems", "maxItems",
)  # fmt: skip
DTYPES = {"object": "dict", "array": "list", "string": "str", "number": "float", "integer": "int", "boolean": "bool"}


def decode(text: str, *, unwrap: bool = True) -> dict[str, Any]:
    """Return the values of the top-level elements by their tags; one that comes several times becomes a list. A single
    `dict` at the top is given without its tag, unless `unwrap` is False.

    Raises `CallError("invalid_output")` that names the element which cannot be read, and keeps the text.
    """
    try:
        root = parsed(text)
        if not len(root):
            raise ValueError("there is no XML element in it")
        only = root[0]
        if unwrap and len(root) == 1 and dtype_of(only) == "dict":
            return children(only, 1)
        return children(root, 0)
    except (ValueError, RecursionError) as error:
        answer = without_reasoning(text)
        if answer and answer != text:
            return decode(answer, unwrap=unwrap)
        raise CallError("invalid_output", f"typed_xml: {error}", partial=text) from None


def parsed(text: str) -> Element:
    """Return the elements under an artificial root. A stray `&` or `<` is forgiven once."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    if text.count("<") > MAX_TAGS:
        raise ValueError(f"it has more than {MAX_TAGS} tags")
    text = DECLARATION.sub("", text)
    try:
        try:
            return fromstring(f"<root>{text}</root>")
        except ParseError:
            return fromstring(f"<root>{STRAY.sub(lambda found: escape(found[0]), text)}</root>")
    except ParseError as error:
        raise ValueError(f"it is not XML: {error}") from None
    except DefusedXmlException:
        raise ValueError("entities and document types are not allowed") from None


def dtype_of(element: Element) -> str:
    return element.get("dtype") or ("dict" if len(element) else "str")


def children(element: Element, depth: int) -> dict[str, Any]:
    """Return the children by their tags, in order; what comes several times becomes a list."""
    found: dict[str, list[Any]] = {}
    for child in element:
        found.setdefault(child.tag, []).append(value(child, depth + 1))
    return {tag: several if len(several) > 1 else several[0] for tag, several in found.items()}


def value(element: Element, depth: int) -> Any:
    """Return what an element means. Raises `ValueError` naming it."""
    if depth > MAX_DEPTH:
        raise ValueError(f"<{element.tag}> is nested too deep")
    dtype, text = dtype_of(element), element.text or ""
    word = text.strip()
    if dtype == "dict":
        return children(element, depth)
    if dtype == "list":
        return [value(child, depth + 1) for child in element]
    if dtype == "str":
        return text
    if dtype in ("null", "none"):
        return None
    if dtype == "bool" and word.lower() in TRUE | FALSE:
        return word.lower() in TRUE
    if dtype in ("int", "float"):
        try:
            number = int(word) if dtype == "int" and "." not in word else float(word)
        except ValueError:
            number = math.nan
        if math.isfinite(number) and (dtype == "float" or number == int(number)):
            return int(number) if dtype == "int" else number
    if dtype not in DTYPES.values():
        raise ValueError(f"<{element.tag}>: unknown dtype {quoted(dtype)}")
    raise ValueError(f"<{element.tag}>: {word[:80]!r} is no {dtype}")


def encode(value: dict[str, Any]) -> str:
    """Return the elements of `value`, indented, without a root; `decode(…, unwrap=False)` is the way back, as long as
    no list has two names. Raises `InputError` for a name or a character that XML does not have."""
    return "\n".join(line for name, inner in value.items() for line in element(name, inner, 0))


def element(name: str, value: Any, depth: int) -> list[str]:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(f"typed_xml: {quoted(name)} cannot be the name of an element")
    pad = "  " * depth
    if isinstance(value, dict | list):
        dtype = "dict" if isinstance(value, dict) else "list"
        pairs = value.items() if isinstance(value, dict) else [("item", inner) for inner in value]
        inside = [line for tag, inner in pairs for line in element(tag, inner, depth + 1)]
        return [f'{pad}<{name} dtype="{dtype}">', *inside, f"{pad}</{name}>"]
    if value is None:
        return [f'{pad}<{name} dtype="none"></{name}>']
    if isinstance(value, bool):
        return [f'{pad}<{name} dtype="bool">{"true" if value else "false"}</{name}>']
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise InputError(f"typed_xml: <{name}>: {value!r} is no number of JSON")
        return [f'{pad}<{name} dtype="{type(value).__name__}">{value!r}</{name}>']
    if not isinstance(value, str) or NO_XML.search(value):
        raise InputError(f"typed_xml: <{name}>: {value!r:.80} cannot be written as XML")
    # A parser turns \\r into \\n unless it is written as a reference.
    return [f'{pad}<{name} dtype="str">{escape(value, {chr(13): "&#13;"})}</{name}>']


def schema_text(name: str, schema: dict[str, Any]) -> str:
    """Return what is expected, for the prompt: one `field` for each property, with name, dtype, whether it is required or may be
    null, its limits and its description; a list shows its item as `<name>_item`, a choice its `alternative`s. What refers to
    itself is a `definition` at the end.
    """
    name = name if NAME.fullmatch(name) else "answer"
    lines = fields(schema, 1)
    for word in ("$defs", "definitions"):
        for each, body in (schema.get(word) or {}).items():
            lines += [f"  <definition name={quoteattr(each)}>", *fields(body, 2), "  </definition>"]
    return "\n".join([f"<{name}>", *lines, f"</{name}>"])


def fields(schema: dict[str, Any], depth: int) -> list[str]:
    pad, lines = "  " * depth, []
    for name, given in (schema.get("properties") or {}).items():
        inner, nullable = without_null(given), may_be_null(given)
        attributes, inside = described(name, inner, depth)
        about = [f"name={quoteattr(name)}", *attributes]
        about.append(f'required="{"true" if name in schema.get("required", ()) else "false"}"')
        about += ['nullable="true"'] if nullable else []
        description = given.get("description") or inner.get("description")
        if description:
            about.append(f"description={quoteattr(description)}")
        lines += [f"{pad}<field {' '.join(about)}>", *inside, f"{pad}</field>"]
    return lines


def described(name: str, schema: dict[str, Any], depth: int) -> tuple[list[str], list[str]]:
    """Return the attributes that say what a value is, and the lines of what is in it."""
    pad = "  " * (depth + 1)
    choices = [choice for choice in schema.get("anyOf") or () if choice.get("type") != "null"]
    if choices:
        lines: list[str] = []
        for choice in choices:
            attributes, inside = described(name, choice, depth + 1)
            lines += [f"{pad}<alternative {' '.join(attributes)}>", *inside, f"{pad}</alternative>"]
        return [], lines
    if "$ref" in schema:
        return [f"definition={quoteattr(schema['$ref'].rpartition('/')[2])}"], []
    kind = str(schema.get("type"))
    limits = {word: schema[word] for word in LIMITS if word in schema}
    attributes = [f'dtype="{DTYPES.get(kind, "str")}"']
    attributes += [f"limits={quoteattr(as_json(limits))}"] if limits else []
    if kind == "object":
        return attributes, fields(schema, depth + 1)
    if kind == "array":
        tag = f"{name}_item" if NAME.fullmatch(name) else "item"
        about, inside = described(name, without_null(schema.get("items") or {}), depth + 1)
        return attributes, [f"{pad}<{tag} {' '.join(about)}>".replace(" >", ">"), *inside, f"{pad}</{tag}>"]
    return attributes, []


def may_be_null(schema: dict[str, Any]) -> bool:
    kinds = schema.get("type")
    return any(choice.get("type") == "null" for choice in schema.get("anyOf") or ()) or (
        isinstance(kinds, list) and "null" in kinds
    )


def without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a nullable schema without its null: a dtype tells what the value is when it is there."""
    choices = [choice for choice in schema.get("anyOf") or () if choice.get("type") != "null"]
    if len(choices) == 1:
        return choices[0]
    kinds = schema.get("type")
    if isinstance(kinds, list):
        return schema | {"type": next((kind for kind in kinds if kind != "null"), "null")}
    return schema
