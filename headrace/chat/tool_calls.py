"""Accumulate the tool calls of a model's turn from a message or from stream deltas, attach results, and write it as
history.

Nothing here executes a call.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from headrace.chat.completion import CALL, SIGNED
from headrace.chat.messages import Message, as_json, assistant_tool_calls, kind, tool, tool_call
from headrace.errors import InputError, InvalidOutput
from headrace.schema.validate import check_json
from headrace.text.quoting import shortened
from headrace.text.reasoning import REASONING_FIELDS

MAX_CALLS = 256
MAX_NAME_CHARS = 256
"""Maximal characters of a tool's name; providers allow 64."""
MAX_REPARSED_CHARS = 1 << 16
"""Maximal characters of arguments that are parsed on every delta to see if they are complete."""


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call that a model made. `raw` is what it wrote: the arguments as JSON text, or a custom tool's input.

    `arguments` is None for a custom call, and when `error` says why they cannot be used.
    """

    id: str
    name: str
    arguments: dict[str, Any] | None
    raw: str
    error: str | None = None
    type: str = "function"


class CallParts(msgspec.Struct, omit_defaults=True):
    """A partial tool call. `given_id` replaces an id that is missing or not unique. `extra` holds fields that are sent back
    with the call (Google's signatures)."""

    id: str = ""
    name: str = ""
    raw: str = ""
    type: str = "function"
    index: int | None = None
    given_id: str = ""
    result: Any = UNSET
    pieces: list[str] = []
    extra: dict[str, Any] = {}

    def argument_text(self) -> str:
        """Return the argument text so far; joins the pending `pieces` into `raw`."""
        if self.pieces:
            self.raw += "".join(self.pieces)
            self.pieces = []
        return self.raw

    def is_complete(self) -> bool:
        """Return True if the arguments are complete JSON. False for more than `MAX_REPARSED_CHARS` characters: parsing them on
        every delta would cost quadratic time."""
        return (
            len(self.raw) <= MAX_REPARSED_CHARS
            and len(self.argument_text()) <= MAX_REPARSED_CHARS
            and parse_arguments(self.raw)[1] is None
        )


class ToolCalls(msgspec.Struct, omit_defaults=True):
    """A model's turn with its tool calls, accumulated from a message or a stream; with results it becomes history.

    Calls keep their order. `text` and `reasoning` go into the history too, reasoning under the field that
    it came in, with the provider's own form of it (`details`, `parts` of the content) and its signatures.
    """

    calls: list[CallParts] = []
    text: str = ""
    reasoning: str = ""
    reasoning_field: str = ""
    details: list[Any] = []
    parts: list[Any] = []
    signed: dict[str, Any] = {}

    def __bool__(self) -> bool:
        return bool(self.calls)

    def add_message(self, message: Mapping[str, Any]) -> None:
        """Add a complete assistant message: its text, its reasoning, and every call, also a legacy `function_call`. Raises
        `InputError` for a call that is malformed, or a `function_call` that is none of the `tool_calls`."""
        said = message.get("content")
        parts = said if isinstance(said, list) else []
        if any(isinstance(part, dict) and part.get("type") != "text" for part in parts):
            self.parts = [*self.parts, *parts]
        self.text += said if isinstance(said, str) else "".join(part.get("text") or "" for part in parts)
        for name in REASONING_FIELDS:
            if message.get(name):
                self.reasoning, self.reasoning_field = self.reasoning + message[name], name
                break
        self.details += message.get("reasoning_details") or []
        self.signed |= {name: message[name] for name in (*SIGNED, "images", "audio") if message.get(name)}
        for call in message.get("tool_calls") or ():
            self.add_call(call)
        function = message.get("function_call")
        if function:  # some servers say a call in both ways
            legacy = CallParts()
            extend(legacy, {"function": function})
            if legacy.argument_text() or legacy.name:
                same = [(call.name, call.argument_text()) for call in self.calls]
                if not same:
                    self.begin(legacy)
                elif (legacy.name, legacy.raw) not in same:
                    raise InputError("its function_call is none of its tool_calls")

    def add_call(self, call: Mapping[str, Any]) -> None:
        """Add a complete call; an empty object is ignored. Raises `InputError` for what is no call."""
        if not isinstance(call, Mapping):
            raise InputError(f"a tool call must be an object, not {kind(call)}")
        if id_of(call) or any(payload(call).values()):
            self.begin(CallParts())
            extend(self.calls[-1], call)

    def begin(self, call: CallParts) -> int:
        if len(self.calls) >= MAX_CALLS:
            raise InputError(f"more than {MAX_CALLS} tool calls in one answer")
        self.calls.append(call)
        return len(self.calls) - 1

    def add_delta(self, delta_tool_calls: Sequence[Mapping[str, Any]] | None) -> list[tuple[int, str]]:
        """Add all `tool_calls` of a stream delta. A legacy `function_call` is `[{"index": 0, "function": …}]`.

        A delta continues the call with its index, unless their ids differ; without an index the call with its id, else the
        one at its position among several, else the last one. Every field is optional; missing ids and names are filled in
        later. Returns `(place, arguments)` of each call that was continued or begun. Raises `InputError` for more than
        `MAX_CALLS`, for what is no call, and for a delta that contradicts its call.
        """
        added: list[tuple[int, str]] = []
        deltas = [delta for delta in delta_tool_calls or () if delta]
        for position, delta in enumerate(deltas):
            if not isinstance(delta, Mapping):
                raise InputError(f"a tool call must be an object, not {kind(delta)}")
            index, id, body = index_of(delta), id_of(delta), payload(delta)
            place = self.place_of(delta, index, id, body, position if len(deltas) > 1 else len(self.calls) - 1)
            if place is None and (id or any(body.values())):
                place = self.begin(CallParts(index=index))
            if place is not None:
                added.append((place, extend(self.calls[place], delta)))
        return added

    def place_of(
        self, delta: Mapping[str, Any], index: int | None, id: str, body: Mapping[str, Any], position: int
    ) -> int | None:
        """Return the place in `calls` of the call that a delta continues; None when it begins a new one."""
        if index is not None:
            found = None
            for place in range(len(self.calls) - 1, -1, -1):
                call = self.calls[place]
                if call.index == index and (not id or call.id in ("", id)):
                    found = place
                    break
            place = found
            known = found is not None and bool(id) and self.calls[found].id == id
        else:
            found = next((place for place, call in enumerate(self.calls) if id and call.id == id), None)
            place = position if found is None and 0 <= position < len(self.calls) else found
            known = found is not None
        if place is None:
            return None
        call = self.calls[place]
        if id and call.id and call.id != id:
            return None
        # Where no id tells them apart only a name says that another call begins: never within arguments.
        name = body.get("name")
        begins = (
            isinstance(name, str) and bool(call.name) and not name.startswith(call.name) and bool(delta.get("type"))
        )
        if not known and begins and not (call.raw or call.pieces):  # the one before has no arguments
            return None
        if not known and name and (call.raw or call.pieces):
            if index is None and name != call.name:
                return None
            if call.is_complete() and not (name == call.name and is_repeat(call, argument_of(call.type, body))):
                return None
        return place

    def get_calls(self) -> list[ToolCall]:
        """Return the calls, in order. One whose arguments are no JSON object carries an `error`; blank arguments are `{}`."""
        made = []
        for id, call in self.identified():
            arguments, error = parse_arguments(call.raw) if call.type != "custom" else (None, None)
            error = error if call.name else "the call names no tool"
            made.append(ToolCall(id=id, name=call.name, arguments=arguments, raw=call.raw, error=error, type=call.type))
        return made

    def insert_results(self, results: Mapping[str, Any]) -> None:
        """Set the results of calls by their ids; unknown ids are ignored. Raises `InputError` for a result that JSON cannot
        hold."""
        for id, call in self.identified():
            if id in results:
                as_json(results[id], f"the result of call {id}")
                call.result = results[id]

    def get_messages(self) -> list[Message]:
        """Return the turn as history: the assistant's message with every call, and one tool message for each, in their
        order.

        A result that is not a text is encoded as JSON. A call without a result gets a tool message that says so, because
        providers refuse a call without one. An empty list without calls.
        """
        if not self.calls:
            return []
        calls, answers = [], []
        for (id, call), made in zip(self.identified(), self.get_calls(), strict=True):
            name = call.name or "unnamed"
            if call.type == "custom":
                calls.append({"id": id, "type": "custom", "custom": {"name": name, "input": call.raw}} | call.extra)
            else:
                calls.append(tool_call(id, name, call.raw if call.raw.strip() else "{}") | call.extra)
            result = f"no result: {made.error or 'the tool did not answer'}" if call.result is UNSET else call.result
            answers.append(tool(id, result if isinstance(result, str) else as_json(result)))
        turn = assistant_tool_calls(calls, self.reasoning or None, text=self.text, field=self.reasoning_field)
        turn |= {"content": self.parts} if self.parts else {}
        turn |= {"reasoning_details": self.details} if self.details else {}
        return [turn | self.signed, *answers]

    def to_dict(self) -> dict[str, Any]:
        """Return the turn as plain JSON values; `from_dict` is the inverse."""
        self.identified()
        return msgspec.to_builtins(self, str_keys=True)

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> ToolCalls:
        """Return the turn that `to_dict` gave. Raises `InputError` for anything else."""
        try:
            return msgspec.convert(stored, ToolCalls)
        except msgspec.ValidationError as error:
            raise InputError(f"these are no stored tool calls: {shortened(str(error))}") from None

    def identified(self) -> list[tuple[str, CallParts]]:
        """Return `(id, call)` in order. Ids are unique; one that was missing or used twice is generated once, and then
        stays."""
        seen: set[str] = set()
        for call in self.calls:
            call.argument_text()
            if not call.given_id:
                call.given_id = call.id if call.id and call.id not in seen else f"call_{secrets.token_hex(12)}"
            seen.add(call.given_id)
        return [(call.given_id, call) for call in self.calls]

    def wire(self) -> list[dict[str, Any]]:
        """Return the calls in OpenAI's shape, their ids unique."""
        return [
            {"id": id, "type": "custom", "custom": {"name": call.name, "input": call.raw}} | call.extra
            if call.type == "custom"
            else {"id": id, "type": "function", "function": {"name": call.name, "arguments": call.raw}} | call.extra
            for id, call in self.identified()
        ]


def index_of(delta: Mapping[str, Any]) -> int | None:
    """Return the index of a delta's call, None when it has none; an index written as text is parsed. Raises `InputError`
    for any other value: deltas of several calls cannot be told apart without it."""
    index = delta.get("index")
    if index is None or (isinstance(index, int) and not isinstance(index, bool)):
        return index
    if isinstance(index, float) and index.is_integer():
        return int(index)
    if isinstance(index, str) and index.isascii() and index.isdigit() and len(index) < 10:
        return int(index)
    raise InputError(f"a tool call's index must be a number, not {kind(index)}")


def id_of(delta: Mapping[str, Any]) -> str:
    """Return the id of a call, "" when it has none; a number is converted to text. Raises `InputError` for any other value."""
    id = delta.get("id")
    if isinstance(id, str):
        return id
    if id is None:
        return ""
    if isinstance(id, int) and not isinstance(id, bool):
        return str(id)
    raise InputError(f"a tool call's id must be a text, not {kind(id)}")


def payload(delta: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the `function` or `custom` object of a call, or the call itself where they are missing and it has their
    fields. An empty object beside the other one is ignored. Raises `InputError` when both have content."""
    function, custom = delta.get("function"), delta.get("custom")
    if not function and not custom and (delta.get("name") or delta.get("arguments") or delta.get("input")):
        # Without the object around it: Cloudflare's, and Anthropic's `tool_use`.
        return {"name": delta.get("name"), "arguments": delta.get("arguments", delta.get("input"))}
    for body in (function, custom):
        if body and not isinstance(body, Mapping):
            raise InputError(f"a tool call's function must be an object, not {kind(body)}")
    if custom and any(custom.values()):
        if function and any(function.values()):
            raise InputError("a tool call is a function's and a custom tool's at once")
        return custom
    return function or {}


def extend(call: CallParts, delta: Mapping[str, Any]) -> str:
    """Merge a delta into its call and return the arguments that it adds. Raises `InputError` for what is no call, and for a
    contradiction."""
    body = payload(delta)
    call.id = call.id or id_of(delta)
    if not delta.keys() <= CALL:
        call.extra |= {
            name: value for name, value in delta.items() if name not in CALL | BARE_FIELDS and value is not None
        }
    if body and body is delta.get("custom"):
        type = "custom"
    else:
        type = "custom" if delta.get("type") == "custom" and not body else "function"
    if body and type != call.type and (call.name or call.raw or call.pieces):
        raise InputError("a tool call is a function's and a custom tool's at once")
    if body or type == "custom":
        call.type = type
    name = body.get("name")
    if name is not None and not isinstance(name, str):
        raise InputError(f"a tool's name must be a text, not {kind(name)}")
    begun = bool(call.raw or call.pieces)
    if name and name != call.name:
        if begun and call.name:
            raise InputError("a tool call changes its name within its arguments")
        if len(call.name) < MAX_NAME_CHARS:
            call.name = name if name.startswith(call.name) else call.name + name  # some say all of it again as it grows
    piece = argument_of(call.type, body)
    if piece and begun and is_repeat(call, piece):
        return ""
    if (
        piece
        and begun
        and piece[:1] == "{"
        and call.type != "custom"
        and len(call.raw) + len(call.pieces) <= MAX_REPARSED_CHARS
    ):
        told = call.argument_text()
        if told.strip() == "{}":  # it stood for arguments that were to come
            call.raw, told = "", ""
        elif len(piece) > len(told) and piece.startswith(told) and told[:1] == "{":
            piece = piece[len(told) :]  # all of it again, and more
    if piece:
        call.pieces.append(piece)
    return piece


def argument_of(type: str, body: Mapping[str, Any]) -> str:
    """Return the argument text (of a custom tool: the input) in a delta; an object is encoded as JSON. Raises `InputError`
    for what is no JSON."""
    given = body.get("input") if type == "custom" else body.get("arguments", body.get("parameters"))
    if isinstance(given, str):
        return given
    if given is None or given == {} or given == []:
        return ""
    try:
        check_json(given)
    except InvalidOutput as error:
        raise InputError(f"a tool's arguments are no JSON: {error}") from None
    return as_json(given)


BARE_FIELDS = frozenset({"name", "arguments", "input"})
"""Fields of a call that has them itself instead of in its `function`."""


def is_repeat(call: CallParts, piece: str) -> bool:
    """Return True if `piece` repeats the complete arguments: some servers send them again in their last chunk."""
    if call.type == "custom" or piece[:1] != "{" or piece.rstrip()[-1:] != "}" or len(call.raw) > MAX_REPARSED_CHARS:
        return False
    value, error = parse_arguments(call.argument_text())
    return error is None and call.raw.strip() != "" and (piece == call.raw or parse_arguments(piece) == (value, None))


def parse_arguments(raw: str) -> tuple[dict[str, Any] | None, str | None]:
    """Return `(arguments, None)`, or `(None, error)` when `raw` is no JSON object. Blank text is `{}`."""
    try:
        value = msgspec.json.decode(raw.strip() or "{}")
    except (msgspec.DecodeError, RecursionError) as error:
        return None, f"the arguments are not JSON: {error}"
    return (value, None) if isinstance(value, dict) else (None, f"the arguments must be an object, not {kind(value)}")
