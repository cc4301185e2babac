"""A provider's answer: `Completion`, its `Choice`s and their `Usage`."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.errors import Failure
from headrace.schema.modes import Mode
from headrace.text.readable import UNWRITABLE, checked_encode
from headrace.text.reasoning import KEPT_PARTS

PARTS = ("reasoning", "reasoning_details", "refusal", "tool_calls", "audio", "annotations", "images", "citations")

"""Fields of a message beside its content."""

SIGNED = (
    *("extra_content", "thought_signature", "thinking_blocks", "encrypted_content", "reasoning_opaque"),
    "provider_specific_fields",
)

"""Fields of a message that its provider wants back (Google, Anthropic behind LiteLLM, xAI, GitHub): without the signature
it refuses the conversation, or the model loses its earlier reasoning."""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Token counts of the provider; `cached_tokens` ⊂ `input_tokens`, `reasoning_tokens` ⊂ `output_tokens`.

    `unknown`: the provider's counts were missing, or could not be read in full; the counts are then lower bounds, and the
    cost is None.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    unknown: bool = False

    def __add__(self, other: Usage) -> Usage:
        counts = (getattr(self, name) + getattr(other, name) for name in self.__struct_fields__[:4])
        return Usage(*counts, unknown=self.unknown or other.unknown)

    def counters(self) -> dict[str, int]:
        counted = {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens}
        return counted | ({"usage_unknown": 1} if self.unknown else {})


class Choice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer of the model. `content` is the text as it came; `tool_calls` are in OpenAI's shape, arguments as text.

    `reasoning` is the text of the model's reasoning, `reasoning_details` the provider's own form of it, untouched.
    `audio` is `{id, data, transcript, expires_at}`, its data in base64. `stop_reason` is the provider's own, if it has
    one (vLLM: the stop string or token), `native_finish_reason` the upstream's (OpenRouter).

    `images` are the parts of generated images (`{"type": "image_url", "image_url": {"url": …}}`), `citations` what the answer
    rests on, as the provider lists it (URLs, or objects). `extra` holds the fields that have no name here, by where they
    stood: `answer` (of the first choice), `choice`, `message`. `reasoning_field` is the name that `reasoning` came under
    (`content`: as parts of it; empty: it was read from `reasoning_details`).

    `raw` holds the side fields that could not be read, by their names, as they came; `notes` says what was done about them,
    and what was inferred (`finish_reason`).
    """

    content: str | None
    finish_reason: str
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] = []
    reasoning: str | None = None
    reasoning_details: list[Any] | None = None
    audio: dict[str, Any] | None = None
    annotations: list[Any] = []
    images: list[Any] = []
    citations: list[Any] = []
    logprobs: dict[str, Any] | None = None
    stop_reason: str | int | None = None
    native_finish_reason: str | None = None
    extra: dict[str, dict[str, Any]] = {}
    reasoning_field: str = "reasoning"
    raw: dict[str, Any] = {}
    notes: list[str] = []

    @property
    def message(self) -> dict[str, Any]:
        """The assistant's message in OpenAI's shape: what the events of the job's log fold into (`headrace.events.fold`)."""
        return {"role": "assistant", "content": self.content} | {
            name: part for name in PARTS if (part := getattr(self, name))
        }

    @property
    def history(self) -> dict[str, Any]:
        """The assistant's message as it goes back into a conversation with the provider that made it: its reasoning in the
        provider's own form, signatures and encrypted parts untouched, a sound by its id."""
        said: dict[str, Any] = {"role": "assistant", "content": self.content}
        thoughts = self.extra.get("message", {}).get(KEPT_PARTS)
        if thoughts or (self.reasoning and self.reasoning_field == "content"):  # as parts of it (Mistral, Anthropic)
            thoughts = thoughts or [{"type": "thinking", "thinking": [{"type": "text", "text": self.reasoning}]}]
            said["content"] = [*thoughts, *([{"type": "text", "text": self.content}] if self.content else [])]
        elif self.reasoning and self.reasoning_field:
            said[self.reasoning_field] = self.reasoning
        said |= {
            name: part
            for name in ("reasoning_details", "refusal", "tool_calls", "images")
            if (part := getattr(self, name))
        }
        said |= {"audio": {"id": self.audio["id"]}} if self.audio and self.audio.get("id") else {}
        if len(said) == 2 and said["content"] is None:  # of a sound without an id its words are all that can go back
            said["content"] = (self.audio or {}).get("transcript") or ""
        return said | {name: self.extra["message"][name] for name in SIGNED if name in self.extra.get("message", ())}


class Completion(Choice, frozen=True, kw_only=True, omit_defaults=True):
    """The answer: the first choice, and what goes for all of it. `value` is the validated value when a schema was given.

    `model` is the one that really answered, `deployment` who was asked. `raw_usage` is the provider's usage object as it
    came (None when it gave none), `cost` in USD, None when no price is known. `other_choices` are those after the first.

    `mode` is how the schema was put to the model (None: there was none, or the model called a tool instead). `repaired`
    says that the text was JSON only after mending, `coerced` that it fitted only by lax reading, `reasks` how often it was
    asked for again; `usage`, `cost` and counters hold all of these calls together.
    """

    id: str
    model: str
    created: int
    usage: Usage
    value: Any = None
    deployment: str = ""
    raw_usage: dict[str, Any] | None = None
    cost: float | None = None
    provider: str | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    other_choices: list[Choice] = []
    cached: bool = False
    saved_cost: float | None = None
    mode: Mode | None = None
    repaired: bool = False
    coerced: bool = False
    reasks: int = 0

    @property
    def structured(self) -> bool:
        """Return True if `value` is the answer (it may be null)."""
        return self.mode is not None or self.value is not None

    def counters(self) -> dict[str, int]:
        """Return the counters that the ledger adds up for it."""
        counted = {"repaired": int(self.repaired), "coerced": int(self.coerced), "reasks": self.reasks}
        return self.usage.counters() | {name: number for name, number in counted.items() if number}

    def without_side_fields(self) -> Completion:
        """Return the completion without the fields whose content is the provider's alone."""
        nothing: dict[str, Any] = {
            "annotations": [],
            "images": [],
            "citations": [],
            "logprobs": None,
            "reasoning_details": None,
            "extra": {},
            "raw": {},
        }
        notes = [*self.notes, "side fields: left out, they cannot be written down"]
        others = [msgspec.structs.replace(choice, **nothing) for choice in self.other_choices]
        return msgspec.structs.replace(self, **nothing, notes=notes, raw_usage=None, other_choices=others)


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job's result as the ledger keeps it: exactly one of the two."""

    completion: Completion | None = None
    error: Failure | None = None


def encode_success(completion: Completion) -> tuple[bytes, Completion]:
    """Return a success as the ledger stores it, and the completion inside: without side fields, where these cannot be
    decoded again. Raises `ValueError` and its subclasses when the answer itself cannot."""
    try:
        return checked_encode(Outcome(completion=completion), Outcome), completion
    except UNWRITABLE:
        completion = completion.without_side_fields()
        return checked_encode(Outcome(completion=completion), Outcome), completion


CALL = frozenset({"id", "type", "function", "custom", "index"})

"""Fields of a tool call under OpenAI's names; any other field goes along with it."""


def decode_outcome(result: bytes) -> Outcome:
    """Return the outcome in a stored result. Raises what `msgspec` does."""
    decoded = msgspec.json.decode(result)
    return msgspec.convert(decoded if "error" in decoded or "completion" in decoded else {"error": decoded}, Outcome)
