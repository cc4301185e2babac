"""The body of `POST /v1/batches`, checked before the batch is there. What headrace has beyond OpenAI stands in `headrace`."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.batches.build import economical, make_template
from headrace.batches.request_lines import CHAT, ENDPOINTS
from headrace.batches.template import DEFAULT_WEIGHT, Template, checked_weight
from headrace.chat.options import Options
from headrace.chat.reserved_fields import check_reserved_fields
from headrace.errors import InputError
from headrace.jobs.build import check_schema_params
from headrace.jobs.cache_mode import checked_variant, stored_cache
from headrace.schema.python_types import answer_type
from headrace.spend.money import checked_budget
from headrace_api.error_quoting import shorten_quotes
from headrace_api.errors import ApiError
from headrace_api.requests.expiry import checked_policy
from headrace_api.shapes.batches import BatchCreate, BatchOptions

FIELDS, OWN = BatchCreate.__struct_fields__, BatchOptions.__struct_fields__
WINDOWS = {"24h": 24 * 3600}
MAX_METADATA, MAX_KEY_CHARS, MAX_VALUE_CHARS = 16, 64, 512


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request for a batch. `window` is as it was written, `output_expires_s` in seconds after the end."""

    input_file: str
    endpoint: str
    window: str
    template: Template
    metadata: dict[str, str] | None = None
    output_expires_s: int | None = None
    on_bad_row: str = "fail"

    @property
    def window_ms(self) -> int:
        return WINDOWS[self.window] * 1000


def refused(message: str, param: str | None) -> ApiError:
    return ApiError(400, "invalid_request", shorten_quotes(message), param=param)


def unknown(message: str, param: str) -> ApiError:
    return ApiError(400, "unknown_parameter", shorten_quotes(message), param=param)


def read_batch_request(body: dict[str, Any]) -> BatchRequest:
    """Read the body. Raises `ApiError` naming the field, or `InputError`."""
    for name in body:
        if name not in FIELDS:
            raise unknown(f"Unknown parameter: '{name[:80]}'.", name[:80])
    for name in ("input_file_id", "endpoint", "completion_window"):
        if not isinstance(body.get(name), str) or not body[name]:
            what = "is missing" if body.get(name) is None else "must be a text"
            raise refused(f"{name}: {what}", name)
    if body["endpoint"] not in ENDPOINTS:
        raise refused(f"endpoint={body['endpoint'][:80]!r}: must be one of {', '.join(ENDPOINTS)}", "endpoint")
    if body["completion_window"] not in WINDOWS:
        raise refused(
            f"completion_window={body['completion_window'][:40]!r}: must be {', '.join(WINDOWS)}", "completion_window"
        )
    own = {} if body.get("headrace") is None else body["headrace"]
    if not isinstance(own, dict):
        raise refused("headrace: must be an object", "headrace")
    for name in own:
        if name not in OWN:
            raise unknown(f"headrace: has {', '.join(OWN)}, and no '{name[:80]}'", "headrace")
    on_bad_row = own.get("on_bad_row") or "fail"
    if on_bad_row not in ("fail", "skip"):
        raise refused("headrace.on_bad_row: must be 'fail' or 'skip'", "headrace.on_bad_row")
    return BatchRequest(
        input_file=body["input_file_id"],
        endpoint=body["endpoint"],
        window=body["completion_window"],
        template=template_of_request(own, body["endpoint"]),
        metadata=checked_metadata(body.get("metadata")),
        output_expires_s=checked_policy(body.get("output_expires_after"), "output_expires_after"),
        on_bad_row=on_bad_row,
    )


def checked_metadata(given: Any) -> dict[str, str] | None:
    """Return up to 16 texts by name. Raises `ApiError`."""
    if given is None:
        return None
    if not isinstance(given, dict):
        raise refused("metadata: must be an object", "metadata")
    if len(given) > MAX_METADATA:
        raise refused(f"metadata: has {len(given)} keys, {MAX_METADATA} are the most", "metadata")
    for key, value in given.items():
        if not 0 < len(key) <= MAX_KEY_CHARS:
            raise refused(f"metadata: a key has 1 to {MAX_KEY_CHARS} characters, not {len(key)}", "metadata")
        if not isinstance(value, str) or len(value) > MAX_VALUE_CHARS:
            raise refused(f"metadata.{key}: must be a text of {MAX_VALUE_CHARS} characters or less", f"metadata.{key}")
    return given


def template_of_request(own: dict[str, Any], endpoint: str) -> Template:
    """Return the template: with a model where the lines are rows for its prompt, without where they are whole requests.
    Raises `ApiError`, `InputError`."""
    shared: dict[str, Any] = {
        name: own[name] for name in ("schema", "schema_name", "mode", "reasks", "lax") if own.get(name) is not None
    }
    if "schema" in shared and not isinstance(shared["schema"], dict):
        raise refused("headrace.schema: must be a JSON Schema, an object", "headrace.schema")
    used: dict[str, Any] = {
        "cache": stored_cache(own.get("cache") or False),
        "variant": checked_variant(own.get("variant")),
        "weight": checked_weight(DEFAULT_WEIGHT if own.get("weight") is None else own["weight"]),
    }
    budget: dict[str, Any] = {}
    nano = 0
    if own.get("budget") is not None:
        budget = {"budget": own["budget"], "allow_unpriced": own.get("allow_unpriced") is True}
        nano = checked_budget(own["budget"], "headrace.budget")
    economy = own.get("economy") or False
    economical({}, economy)
    given = own.get("template")
    if (given is not None or shared) and endpoint != CHAT:
        raise refused(f"headrace: a template, and what goes with a schema, are for the endpoint {CHAT}", "headrace")
    if given is not None:
        if not isinstance(given, dict):
            raise refused("headrace.template: must be an object", "headrace.template")
        check_reserved_fields(given, "headrace.template.")
        for name in ("model", "prompt"):
            if not isinstance(given.get(name), str):
                raise refused(f"headrace.template.{name}: must be a text", f"headrace.template.{name}")
        words = {name: value for name, value in given.items() if name not in shared and name not in OWN}
        if len(words) < len(given):
            raise refused("headrace.template: the schema, and what goes with it, stand beside it", "headrace.template")
        template, _ = make_template(**words, **shared, **used, **budget, economy=economy)
        return template
    expected = answer_type(shared.get("schema"), name=shared.get("schema_name"))
    mode, reasks, lax = shared.get("mode"), shared.get("reasks", 0), shared.get("lax", False)
    check_schema_params("", expected, mode, reasks, lax)
    template = Template(
        model="", schema=expected.schema, schema_name=expected.name, mode=mode, reasks=reasks, lax=lax, **used
    )
    if economy:
        flex = Options(service_tier="flex")
        template = msgspec.structs.replace(template, options=flex, standard_fallback=economy == "fallback")
    if nano:
        template = msgspec.structs.replace(template, budget=nano, unpriced=budget["allow_unpriced"])
    try:
        template.encoded()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"headrace: cannot be written as JSON: {error}") from None
    return template
