"""Prompts as templates of Jinja, for conditions and loops: rendered in its sandbox where the input is read, so that neither
gateway nor worker runs a caller's template."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import jinja2.meta
import jinja2.sandbox
import msgspec
from jinja2.exceptions import SecurityError

from headrace.batches.prompt import FILLED_ROLES, Conversation, checked_conversation, value_text
from headrace.chat.messages import system as system_message
from headrace.chat.messages import user
from headrace.errors import InputError
from headrace.text.quoting import shortened

MAX_RENDERED_CHARS = 1024 * 1024
MAX_FACTOR = 10**9
MAX_EXPONENT = 100
FILE = "<template>"
"""The name that Jinja gives the code of a template."""


class WrittenNumber(float):
    """A number that stands in a text with the digits that it was written with."""

    digits: str

    def __new__(cls, digits: str) -> WrittenNumber:
        number = super().__new__(cls, digits)
        number.digits = digits
        return number

    def __str__(self) -> str:
        return self.digits


class JinjaPrompt:
    """The conversation of a batch whose texts are templates. Raises `InputError` with the line, or the place in `messages`, of
    what is no template. `names` is what the prompt, the system message and the conversation are called in complaints."""

    def __init__(
        self,
        prompt: str,
        system: str | None = None,
        messages: Any = None,
        names: tuple[str, str, str] = ("prompt", "system", "messages"),
    ):
        self._environment = environment()
        self._has_system = system is not None
        self._fields: set[str] = set()
        of_prompt, of_system, of_messages = names
        talk: Conversation = [] if system is None else [system_message(system)]
        places = [] if system is None else [of_system]
        if messages is None:
            talk, places = [*talk, user(prompt)], [*places, of_prompt]
        else:
            own, pointer = conversation_and_pointer(messages, of_messages)
            talk += own
            places += [f"{of_messages}: {pointer}/{number}/content" for number in range(len(own))]
        self._messages = [self._compiled(message, place) for message, place in zip(talk, places, strict=True)]

    @property
    def fields(self) -> list[str]:
        """The names that the templates use without setting them."""
        return sorted(self._fields)

    def messages(self, fields: Mapping[str, Any], where: str, *, with_system: bool = True) -> Conversation:
        """Return the conversation of one item, without the system message where the item has its own. Raises `InputError` with
        its place, `where`."""
        values = {name: native(value) for name, value in fields.items()}
        first = 1 if self._has_system and not with_system else 0
        return [self._rendered(message, values, where) for message in self._messages[first:]]

    def _compiled(self, message: dict[str, Any], place: str) -> dict[str, Any]:
        content = message.get("content")
        if message["role"] not in FILLED_ROLES or content is None:
            return message
        if isinstance(content, str):
            return {**message, "content": self._template(content, place)}
        parts = [
            {**part, "text": self._template(part["text"], f"{place}/{number}/text")} if "text" in part else part
            for number, part in enumerate(content)
        ]
        return {**message, "content": parts}

    def _template(self, source: str, place: str) -> tuple[Any, str]:
        try:
            parsed = self._environment.parse(source)
            self._fields |= jinja2.meta.find_undeclared_variables(parsed)
            return self._environment.from_string(source), place
        except jinja2.TemplateSyntaxError as error:
            raise InputError(
                f"{place}, line {error.lineno}: no template of Jinja: {shortened(str(error.message))}"
            ) from None
        except (jinja2.TemplateError, RecursionError, ValueError, OverflowError) as error:
            raise InputError(f"{place}: no template of Jinja: {shortened(str(error))}") from None

    def _rendered(self, message: dict[str, Any], values: dict[str, Any], where: str) -> dict[str, Any]:
        content = message.get("content")
        if isinstance(content, tuple):
            return {**message, "content": self._text(content, values, where)}
        if isinstance(content, list):
            parts = [
                {**part, "text": self._text(part["text"], values, where)}
                if isinstance(part.get("text"), tuple)
                else part
                for part in content
            ]
            return {**message, "content": parts}
        return message

    def _text(self, compiled: tuple[Any, str], values: dict[str, Any], where: str) -> str:
        template, place = compiled
        pieces, size = list[str](), 0
        try:
            for piece in template.generate(values):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_RENDERED_CHARS:
                    raise InputError(f"{where}: {place}: makes more than {MAX_RENDERED_CHARS} characters of it")
        except InputError:
            raise
        except Exception as error:  # whatever an expression of the caller's raises
            there = ", ".join(sorted(values)) or "none"
            raise InputError(
                f"{where}: {place}, line {line_of(error)}: {shortened(str(error)) or type(error).__name__}. Fields there: {there}"
            ) from None
        return "".join(pieces)


class Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """Jinja without files, without attributes that lead out of a value, and without texts made large by a multiplication."""

    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if not all(isinstance(side, int | float) and abs(side) < MAX_FACTOR for side in (left, right)):
            raise SecurityError(f"`{operator}` takes numbers of nine digits at most")
        if operator == "**" and abs(right) > MAX_EXPONENT:
            raise SecurityError(f"`**` takes exponents up to {MAX_EXPONENT}")
        return super().call_binop(context, operator, left, right)


def environment() -> Sandbox:
    """Return the sandbox, with texts as they are and everything else as JSON."""
    made = Sandbox(undefined=jinja2.StrictUndefined, finalize=shown, keep_trailing_newline=True)
    made.filters["tojson"] = json_text
    return made


def shown(value: Any) -> Any:
    """Return a value as it stands in the text: texts as they are, anything else as JSON."""
    if isinstance(value, str | jinja2.Undefined):
        return value
    return value.digits if isinstance(value, WrittenNumber) else json_text(value)


def json_text(value: Any) -> str:
    try:
        return value_text(written(value)) if not isinstance(value, str) else msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        return str(value)


def native(value: Any) -> Any:
    """Return a field's value for use in expressions: numbers that were kept as written are numbers."""
    if isinstance(value, msgspec.Raw):
        return WrittenNumber(bytes(value).decode())
    if isinstance(value, dict):
        return {key: native(inner) for key, inner in value.items()}
    return [native(inner) for inner in value] if isinstance(value, list) else value


def written(value: Any) -> Any:
    """Return the value with its numbers as they were written."""
    if isinstance(value, WrittenNumber):
        return msgspec.Raw(value.digits.encode())
    if isinstance(value, Mapping):
        return {key: written(inner) for key, inner in value.items()}
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        return value
    return [written(inner) for inner in value]


def line_of(error: BaseException) -> int:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == FILE]
    return lines[-1] or 1 if lines else 1


def conversation_and_pointer(messages: Any, name: str) -> tuple[Sequence[dict[str, Any]], str]:
    """Return the conversation, and the JSON Pointer at which it stands in what was given. Raises `InputError`."""
    pointer = "/messages" if isinstance(messages, dict) else ""
    return checked_conversation(messages, name, places=False), pointer
