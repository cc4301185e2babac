"""The request that a record becomes: its fields for the template's prompt, or a conversation of its own (a column, a template of
Jinja, OpenAI's batch form), with what else is the item's own, and its media."""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

from headrace.batches.inputs.column_choice import ColumnChoice
from headrace.batches.inputs.complaints import InputRecord
from headrace.batches.inputs.openai_form import is_batch_form, read_body
from headrace.batches.inputs.per_item import PerItem
from headrace.batches.media.choice import FILE_FIELD
from headrace.batches.media.reader import Media, MediaReader
from headrace.batches.media.references import Blob, with_media
from headrace.batches.prompt import DEFAULT_PROMPT, value_text
from headrace.batches.template import Item, Template
from headrace.errors import InputError
from headrace.text.quoting import quoted

OnEmpty = Literal["refuse", "skip", "send"]
"""Policy for an item in which a field that the prompt names, or one of its media, is null, empty or blank."""
ON_EMPTY: tuple[OnEmpty, ...] = get_args(OnEmpty)
NO_MEDIA = Media([], [])


class RequestParts:
    """Makes items of records. `jinja` renders the conversation (a `jinja_prompt.JinjaPrompt`), `per_item` reads the parts that
    are items' own, `media` their files."""

    def __init__(
        self,
        template: Template,
        on_empty: OnEmpty = "refuse",
        *,
        jinja: Any = None,
        per_item: PerItem | None = None,
        media: MediaReader | None = None,
    ):
        if on_empty not in ON_EMPTY:
            raise InputError(f"on_empty={quoted(on_empty)}: must be one of {', '.join(ON_EMPTY)}")
        self._template = template
        self._on_empty: OnEmpty = on_empty
        self._jinja = jinja
        self._per_item = per_item
        self._media = media
        self._is_default = template.conversation is None and template.prompt == DEFAULT_PROMPT
        if per_item is not None and per_item.brings_messages and (jinja is not None or not self._is_default):
            raise InputError(
                "--per-item messages: items bring their conversations, so there can be no prompt beside them"
            )
        self._has_own_messages = jinja is not None or (per_item is not None and per_item.brings_messages)
        self._takes_bodies = jinja is None and per_item is None and media is None
        self.needed = [] if self._has_own_messages else template.fields
        self.also: list[str] = [
            *(jinja.fields if jinja is not None else ()),
            *(per_item.columns.values() if per_item else ()),
        ]
        """Columns that are read where they are there."""
        if media is not None and self._is_default and not self._has_own_messages:
            # A picture alone is a question too: the default prompt is for what has a text.
            self.needed, self.also = [], [*self.also, *template.fields]
        self._fields = self.needed or (template.fields if not self._has_own_messages else [])

    def check_columns(self, source: str) -> None:
        """Raise `InputError` for a column of items' own parts that none of the items read has had."""
        if self._per_item is not None:
            self._per_item.check_columns(source)

    def is_batch_form(self, fields: dict[str, Any]) -> bool:
        """Return True for a record in OpenAI's batch form."""
        return self._takes_bodies and is_batch_form(fields, self.needed)

    def item(self, record: InputRecord, custom_id: str, choice: ColumnChoice) -> tuple[Item | None, list[Blob]]:
        """Return the item of `record` and the blobs that it refers to; None for one that is skipped. Raises `InputError`."""
        fields = record.fields
        if self._media is not None:
            self._media.check_pages(record)
        kept = choice.kept(fields, record.where) if choice.keeps else None
        if self.is_batch_form(fields):
            return self._of_body(record, custom_id, kept), []
        asks_the_same = (
            not self._jinja.fields if self._jinja is not None else not (self._has_own_messages or self.needed)
        )
        if self._media is None and asks_the_same:
            raise self._asks_the_same(record)
        for field in (*self.needed, *(self._media.choice.columns if self._media is not None else ())):
            if not self._is_filled(field, record):
                return None, []
        media = NO_MEDIA if self._media is None else self._media.read(record)
        own = {} if self._per_item is None else self._per_item.read(fields, record.where).as_fields()
        if self._jinja is not None and "messages" not in own:
            own["messages"] = self._jinja.messages(fields, record.where, with_system="system" not in own)
        if media.parts:
            own["media"] = media.parts
            if "messages" in own:
                own["messages"] = with_media(own["messages"], media.parts)
        if "messages" not in own:
            # As text from here on: a number keeps the digits that it was written with.
            own["fields"] = {field: value_text(fields.get(field, "")) for field in self._fields}
        return Item(custom_id=custom_id, kept=kept, **own), media.blobs

    def _of_body(self, record: InputRecord, custom_id: str, kept: dict[str, Any] | None) -> Item:
        if not self._is_default:
            raise InputError(f"{record.where}: brings its own messages (`body`), so there can be no --prompt")
        try:
            item = read_body(record.fields, custom_id, self._template)
        except InputError as error:
            raise InputError(f"{record.where}: {error}") from None
        return item if kept is None else msgspec.structs.replace(item, kept=kept)

    def _asks_the_same(self, record: InputRecord) -> InputError:
        place = f"{{{min(map(str, record.fields), default='text')}}}"
        return InputError(
            f"{record.where}: the prompt names no field of the items, so that each would ask the same. Write a place such "
            f"as {place} into it. Fields there: {names(record)}"
        )

    def _is_filled(self, field: str, record: InputRecord) -> bool:
        """Return False for an item that is skipped because `field` is empty. Raises `InputError`."""
        is_media = field not in self.needed
        who = "which is media" if is_media else "which the prompt names"
        if field not in record.fields:
            problem = f"{record.where}: field `{field}`, {who}, is missing. Fields there: {names(record)}"
            if field == "text" and isinstance(record.fields.get("messages"), list):
                problem += ". If its `messages` are what is asked, say so: --per-item messages (`per_item`)"
            raise InputError(problem)
        value = record.fields[field] if self._media is None or not is_media else self._media.value_of(field, record)
        if self._on_empty == "send" or not (empty := emptiness(value)):
            return True
        if self._on_empty == "skip":
            return False
        if is_media and record.page is not None:
            raise InputError(
                f"{record.where}: has no text: it is a picture, or blank. Give --pdf-as pages, or choose --on-empty skip (leave "
                "such items out) or send (as they are)"
            )
        raise InputError(
            f"{record.where}: field `{field}`, {who}, is {empty}. Fill it, or choose --on-empty skip "
            "(leave such items out) or send (as they are)"
        )


def names(record: InputRecord) -> str:
    return ", ".join(sorted(str(name) for name in record.fields if name != FILE_FIELD)) or "none"


def emptiness(value: Any) -> str:
    """Return the way in which a value is empty: null, empty or blank. An empty text for any other value; 0 and false are
    values."""
    if value is None:
        return "null"
    if isinstance(value, str | list | dict | bytes):
        return "" if value and not (isinstance(value, str) and not value.strip()) else "blank" if value else "empty"
    return ""
