"""The lines of an uploaded file as requests: `{"custom_id", "method", "url", "body"}`, each checked as if it had been posted.

All lines that cannot be used are reported with their numbers, the first `MAX_NAMED_ERRORS` of them, and the count of all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from headrace.batches.inputs.openai_form import INSTEAD, options_of
from headrace.batches.inputs.request_parts import emptiness
from headrace.batches.inputs.sources import LINE_BYTES, MAX_ERROR_CHARS, MAX_NAMED_ERRORS, json_object
from headrace.batches.prompt import value_text
from headrace.batches.template import Item, Template
from headrace.chat.messages import check_conversation
from headrace.chat.model_aliases import AliasModels, resolve
from headrace.chat.options import check_beside_schema
from headrace.chat.prompt_prefix import prefix_of_messages
from headrace.chat.reserved_fields import check_reserved_fields
from headrace.chat.response_format import read_response_format
from headrace.chat.responses_request import chat_body
from headrace.chat.routing import Routing
from headrace.errors import InputError, ModelNotFound, UnknownField
from headrace.jobs.build import make_job
from headrace.jobs.job import Job
from headrace.schema.validate import MAX_DEPTH, too_deep
from headrace.text.quoting import quoted

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
ENDPOINTS = (CHAT, RESPONSES)
MAX_ID_CHARS = 512
PLAIN_ROLES = frozenset({"system", "developer", "user", "assistant"})
OWN_TEXTS = ("user", "safety_identifier", "prompt_cache_key")
"""Options that differ from line to line: they are no part of a body's shape."""
MAX_SHAPES = 256
MAX_SHAPE_BYTES = 1 << 14
POINTER = re.compile(
    r"^(?:option refused: .*`\$\.(?P<option>\w+)`|option `(?P<named>\w+)`|(?P<place>/[^\s:]+|\w+(?=[:=])))"
)


class LineError(msgspec.Struct, frozen=True):
    """One line that cannot be used, as OpenAI's batches report it. `line` counts from 1; None for an error of the whole file."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class BadLine(Exception):
    """A line cannot be used."""

    def __init__(self, code: str, message: str, param: str | None = None):
        super().__init__(message)
        self.error = LineError(code, message[:MAX_ERROR_CHARS], param=param)


class Rejected(Exception):
    """The file cannot be used: `errors` are the first of its bad lines, `count` is the number of all."""

    def __init__(self, errors: list[LineError], count: int):
        super().__init__(f"{count} of the input's lines cannot be used")
        self.errors = errors
        self.count = count

    @property
    def reason(self) -> str:
        first = self.errors[0]
        place = f"line {first.line}: " if first.line is not None else ""
        return f"{self.count} of its lines cannot be used; {place}{first.message}"

    def listed(self) -> list[LineError]:
        """Return the errors, and after them, where they are not all, how many there are."""
        more = self.count - len(self.errors)
        if more <= 0:
            return self.errors
        return [*self.errors, LineError("more_errors", f"{more} more lines cannot be used: {self.count} in all")]


class BodyShape(NamedTuple):
    """All of a body but its messages, checked, as the items that have it need it: requests of one program have few of them."""

    job: Job
    fallbacks: list[str]
    routing: Routing | None


class _RequestLine(msgspec.Struct):
    custom_id: str
    method: str
    url: str
    body: dict[str, Any]


_decode = msgspec.json.Decoder(_RequestLine).decode
_encode = msgspec.json.Encoder(order="deterministic").encode


class RequestLines:
    """Reads the lines of one file. `check_models` raises `InputError` when none of its arguments, a model and its fallbacks, can
    be called here; `aliases` are those of whoever created the batch, `models` the names that the lines have. With a `template`
    that has a model, the lines are rows with the fields of its prompt."""

    def __init__(
        self,
        template: Template,
        *,
        endpoint: str = CHAT,
        max_lines: int,
        skip_bad: bool = False,
        aliases: Mapping[str, AliasModels] | None = None,
        check_models: Callable[..., None] = lambda *models: None,
    ):
        self._template = template
        self._endpoint = endpoint
        self._max_lines = max_lines
        self._skip_bad = skip_bad
        self._aliases = aliases or {}
        self._check_models = check_models
        self._fields = template.fields if template.model else []
        self._shapes: dict[bytes, BodyShape] = {}
        self._seen: dict[int, int] = {}
        self.models: set[str] = set()

    def items(self, lines: Iterator[bytes]) -> Iterator[Item]:
        """Yield the items of `lines`, one by one. Raises `Rejected` at the end when lines cannot be used (`skip_bad`: never for
        those: they are items that fail), when there is none, and when there are too many."""
        errors: list[LineError] = []
        count = total = 0
        read = self._row if self._template.model else self._request
        for number, raw in enumerate(lines, 1):
            if raw.isspace():
                continue
            total += 1
            if total > self._max_lines:
                message = f"there are more than {self._max_lines} lines in it (HEADRACE_BATCH_LINES)"
                raise Rejected([*errors[: MAX_NAMED_ERRORS - 1], LineError("too_many_requests", message)], count + 1)
            try:
                item = self._unique(read(raw, number), number)
            except BadLine as bad:
                if self._skip_bad:
                    yield self._skipped(number, bad.error)
                    continue
                count += 1
                if len(errors) < MAX_NAMED_ERRORS:
                    errors.append(msgspec.structs.replace(bad.error, line=number))
                continue
            if not count:
                yield item
        if not total:
            errors, count = [LineError("empty_file", "the file has no line in it")], 1
        if count:
            raise Rejected(errors, count)

    def _unique(self, item: Item, number: int) -> Item:
        mark = int.from_bytes(blake2b(item.custom_id.encode(), digest_size=8).digest())
        first = self._seen.setdefault(mark, number)
        if first != number:
            raise BadLine(
                "duplicate_custom_id",
                f"custom_id {quoted(item.custom_id)} is on line {first} and on line {number}",
                "custom_id",
            )
        return item

    def _skipped(self, number: int, error: LineError) -> Item:
        """Return the item of a bad line, under a name of its own: what it calls itself may be another line's."""
        name, taken = f"line-{number}", 0
        while True:
            custom_id = name if not taken else f"{name}-{taken}"
            try:
                return self._unique(Item(custom_id=custom_id, refused=f"line {number}: {error.message}"), number)
            except BadLine:
                taken += 1

    def _request(self, raw: bytes, number: int) -> Item:
        """Return the item of a line in OpenAI's form."""
        check_length(raw)
        try:
            line = _decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            line = self._complained(raw)
        if not 0 < len(line.custom_id) <= MAX_ID_CHARS:
            raise BadLine("invalid_custom_id", f"custom_id: must have 1 to {MAX_ID_CHARS} characters", "custom_id")
        if line.method != "POST":
            raise BadLine("invalid_method", f"method: must be POST, not {line.method!r:.40}", "method")
        if line.url != self._endpoint:
            message = f"url: must be {self._endpoint}, the batch's endpoint, not {line.url!r:.80}"
            raise BadLine("invalid_url", message, "url")
        try:
            return self._item(line.custom_id, line.body)
        except InputError as error:
            raise in_body(error) from None

    def _complained(self, raw: bytes) -> _RequestLine:
        """Return the line as it is read by who names what is wrong. Raises `BadLine`."""
        try:
            fields: dict[str, Any] = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadLine("invalid_json_line", f"the line is no JSON: {error}") from None
        if not isinstance(fields, dict):
            raise BadLine("invalid_json_line", "the line must be a JSON object")
        for name, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
            if name not in fields:
                raise BadLine("missing_required_parameter", f"Missing required parameter: '{name}'.", name)
            if not isinstance(fields[name], kind):
                word = "a text" if kind is str else "an object"
                raise BadLine("invalid_type", f"{name}: must be {word}, not {type(fields[name]).__name__}", name)
        return msgspec.convert(fields, _RequestLine)

    def _item(self, custom_id: str, body: dict[str, Any]) -> Item:
        response = None
        if self._endpoint == RESPONSES:
            body, response = self._chat_body(body)
        messages = body.pop("messages", None)
        own = {name: body.pop(name) for name in OWN_TEXTS if type(body.get(name)) is str and body[name]}
        key = _encode(body)
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shape(body)
            if len(key) <= MAX_SHAPE_BYTES:
                if len(self._shapes) >= MAX_SHAPES:
                    self._shapes.pop(next(iter(self._shapes)))
                self._shapes[key] = shape
        if not isinstance(messages, list):
            raise InputError("/messages: must be a list of messages")
        if not are_plain(messages):
            if too_deep(messages):
                raise InputError(f"/messages: nested more than {MAX_DEPTH} deep")
            check_conversation(messages)
        job = shape.job
        return Item(
            custom_id=custom_id,
            messages=messages,
            model=job.model,
            fallbacks=shape.fallbacks,
            routing=shape.routing,
            prefix_key=prefix_of_messages(messages, job.tools, job.schema or job.response_format),
            tools=job.tools,
            tool_choice=job.tool_choice,
            options=job.options if not own else msgspec.structs.replace(job.options, **own),
            response_format=job.response_format,
            schema=job.schema,
            schema_name=job.schema_name if job.schema is not None else None,
            response=response,
        )

    def _chat_body(self, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a body of the Responses API as a chat's, and what its answer repeats. Raises `InputError`."""
        if too_deep(body):
            raise InputError(f"the body is nested more than {MAX_DEPTH} deep")
        if body.get("background"):
            raise InputError("/background: a batch is in the background as a whole; leave it out")
        return chat_body(body), {name: value for name, value in body.items() if name != "input" and value is not None}

    def _shape(self, body: dict[str, Any]) -> BodyShape:
        """Check a body without its messages. Raises `InputError` naming the place."""
        if too_deep(body):
            raise InputError(f"the body is nested more than {MAX_DEPTH} deep")
        check_reserved_fields(body, "/")
        for name, instead in INSTEAD.items():
            if body.get(name) is not None:
                raise InputError(f"/{name}: is no longer taken; write `{instead}`")
        if body.get("n") not in (None, 1):
            raise InputError(f"/n: a line of a batch holds one choice, not {body['n']!r:.40}")
        if body.get("stream") not in (None, False):
            raise InputError("/stream: a batch does not stream; leave it out")
        if body.get("headrace") is not None:
            raise InputError("/headrace: is for the batch as a whole, not for its lines")
        if not isinstance(body.get("tools"), list | None):
            raise InputError("/tools: must be a list of tools")
        name = body.get("model")
        if not isinstance(name, str) or not name:
            raise InputError("/model: is missing: a text that names the model")
        route = resolve(name, self._aliases)
        self._check_models(route.model, *route.fallbacks)
        first, *_ = [self._job(model, body) for model in (route.model, *route.fallbacks)]  # each can take it
        self.models.add(name)
        return BodyShape(first, route.fallbacks, route.routing)

    def _job(self, model: str, body: dict[str, Any]) -> Job:
        schema, name, other = read_response_format(body.get("response_format"))
        template = self._template
        if template.schema is not None and (schema is not None or other is not None):
            raise InputError("/response_format: the batch has a schema of its own; leave one of the two out")
        job, _ = make_job(
            model,
            "x",
            schema=schema,
            tools=body.get("tools") or None,
            tool_choice=body.get("tool_choice") if body.get("tools") else None,
            **options_of(body),
        )
        if template.schema is not None:
            check_beside_schema(job.options)
            if job.tools and template.mode == "tool_call":
                raise InputError("/tools: the schema travels as a tool in mode tool_call; choose another mode")
        return msgspec.structs.replace(job, response_format=other, **({"schema_name": name} if name else {}))

    def _row(self, raw: bytes, number: int) -> Item:
        """Return the item of a row with the fields that the template's prompt names."""
        check_length(raw)
        where = f"line {number}"
        try:
            fields = json_object(raw.decode(), where)
        except (InputError, UnicodeDecodeError) as error:
            raise BadLine("invalid_json_line", str(error).removeprefix(f"{where}: ")) from None
        custom_id = fields.get("custom_id", fields.get("id", f"line-{number}"))
        if isinstance(custom_id, int) and not isinstance(custom_id, bool):
            custom_id = str(custom_id)
        if not isinstance(custom_id, str) or not 0 < len(custom_id) <= MAX_ID_CHARS:
            raise BadLine(
                "invalid_custom_id", f"custom_id: must be a text of 1 to {MAX_ID_CHARS} characters", "custom_id"
            )
        for name in self._fields:
            if name not in fields:
                raise BadLine(
                    "missing_required_parameter", f"field {quoted(name)}, which the prompt names, is missing", name
                )
            if empty := emptiness(fields[name]):
                raise BadLine("empty_field", f"field {quoted(name)}, which the prompt names, is {empty}", name)
        return Item(custom_id=custom_id, fields={name: value_text(fields[name]) for name in self._fields})


def check_length(raw: bytes) -> None:
    if len(raw) > LINE_BYTES:
        raise BadLine("invalid_json_line", f"the line is longer than {LINE_BYTES} bytes (1 MiB), the most it may have")


def are_plain(messages: list[Any]) -> bool:
    """Return True for messages that hold a role and a text, and nothing else: the most, and valid as they are."""
    for message in messages:
        if type(message) is not dict or len(message) != 2:
            return False
        role = message.get("role")
        if type(message.get("content")) is not str or type(role) is not str or role not in PLAIN_ROLES:
            return False
    return bool(messages)


def in_body(error: InputError) -> BadLine:
    """Return the error of a body, with its place as OpenAI writes it: `body.messages[0].role`."""
    message = str(error)
    if isinstance(error, ModelNotFound):
        return BadLine("model_not_found", message, "body.model")
    found = POINTER.match(message)
    place = (found["option"] or found["named"] or found["place"]) if found else None
    param = "body" if place is None else dotted(f"body/{place.lstrip('/')}")
    return BadLine("unknown_parameter" if isinstance(error, UnknownField) else "invalid_body", message, param)


def dotted(pointer: str) -> str:
    """Return `body/messages/0/role` as `body.messages[0].role`."""
    path = ""
    for step in pointer.split("/"):
        step = step.replace("~1", "/").replace("~0", "~")
        path += f"[{step}]" if step.isdigit() and path else f".{step}" if path else step
    return path[:200]
