"""Input items of the Responses API: checked, and completed as that API lists them.

An item that a chat-completions provider cannot be given (a call of a built-in tool, a file by its id) is refused with its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from headrace.chat.messages import kind, shown
from headrace.errors import InputError

Item = dict[str, Any]
MAX_ID_CHARS = 128
INPUT_ROLES = ("user", "system", "developer")
DETAILS = ("low", "high", "auto", "original")
AUDIO_FORMATS = ("wav", "mp3")
NO_FILES = "a provider is given no files by id; send the data itself (`file_data`, or `image_url` with a data URI)"


def input_items(given: Any, letters: str = "", known: Mapping[str, Item] | None = None) -> list[Item]:
    """Return the items of `input`, a text or a list, each with its type, an id and a status.

    Ids that are not given are made of `letters`, those of the response. `known` are items that an `item_reference` may name, by
    their ids. Raises `InputError` naming the place by JSON Pointer (`/input/0/content/1/type`).
    """
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise InputError(f"/input: must be a text or a list of items, not {kind(given)}")
    return [
        completed_item(item, f"/input/{place}", f"{letters}_in{place}", known or {}) for place, item in enumerate(given)
    ]


def completed_item(item: Any, place: str, suffix: str, known: Mapping[str, Item]) -> Item:
    if not isinstance(item, dict):
        raise InputError(f'{place}: must be an item like {{"role": "user", "content": …}}, not {kind(item)}')
    sort = item.get("type") or ("message" if "role" in item else "item_reference" if set(item) == {"id"} else None)
    if sort == "item_reference":
        id = text_at(item, "id", place)
        if id not in known:
            raise InputError(f"{place}/id: there is no item {shown(id)} in a stored response; send the item itself")
        return known[id]
    complete = ITEMS.get(sort) if isinstance(sort, str) else None
    if complete is None:
        raise InputError(
            f"{place}/type: must be one of {', '.join(ITEMS)}, item_reference, not {shown(sort)}: other items are of tools "
            "that a chat-completions provider does not have"
        )
    given_id = item.get("id")
    if given_id is not None and (not isinstance(given_id, str) or not 1 <= len(given_id) <= MAX_ID_CHARS):
        raise InputError(f"{place}/id: must be a text of 1 to {MAX_ID_CHARS} characters, not {kind(given_id)}")
    return complete(item, place, given_id, suffix)


def _message(item: Item, place: str, id: str | None, suffix: str) -> Item:
    role = item.get("role")
    if role not in (*INPUT_ROLES, "assistant"):
        raise InputError(f"{place}/role: must be one of assistant, {', '.join(INPUT_ROLES)}, not {shown(role)}")
    content = item.get("content")
    if isinstance(content, str):
        content = [{"type": "output_text" if role == "assistant" else "input_text", "text": content}]
    if not isinstance(content, list):
        raise InputError(f"{place}/content: must be a text or a list of parts, not {kind(content)}")
    read = _said_part if role == "assistant" else _input_part
    parts = [read(part, f"{place}/content/{number}") for number, part in enumerate(content)]
    return {
        "id": id or f"msg_{suffix}",
        "type": "message",
        "role": role,
        "status": _status(item, place),
        "content": parts,
    }


def _input_part(part: Any, place: str) -> Item:
    sort = _type_of(part, place)
    match sort:
        case "input_text":
            return {"type": sort, "text": text_at(part, "text", place, empty=True)}
        case "input_image":
            _no_file_id(part, place)
            detail = part.get("detail")
            if detail not in (None, *DETAILS):
                raise InputError(f"{place}/detail: must be one of {', '.join(DETAILS)}, not {shown(detail)}")
            return {"type": sort, "detail": detail or "auto", "image_url": text_at(part, "image_url", place)}
        case "input_file":
            _no_file_id(part, place)
            if part.get("file_url") is not None:
                raise InputError(f"{place}/file_url: nothing is fetched here; send the data itself as `file_data`")
            named = {"filename": text_at(part, "filename", place)} if part.get("filename") is not None else {}
            return {"type": sort, "file_data": text_at(part, "file_data", place)} | named
        case "input_audio":
            sound = part.get("input_audio")
            if not isinstance(sound, dict):
                raise InputError(f"{place}/input_audio: must be an object with `data` and `format`, not {kind(sound)}")
            if sound.get("format") not in AUDIO_FORMATS:
                raise InputError(f"{place}/input_audio/format: must be one of {', '.join(AUDIO_FORMATS)}")
            data = text_at(sound, "data", f"{place}/input_audio")
            return {"type": sort, "input_audio": {"data": data, "format": sound["format"]}}
    raise InputError(
        f"{place}/type: must be one of input_text, input_image, input_file, input_audio, not {shown(sort)}"
    )


def _said_part(part: Any, place: str) -> Item:
    sort = _type_of(part, place)
    if sort == "refusal":
        return {"type": sort, "refusal": text_at(part, "refusal", place, empty=True)}
    if sort not in ("output_text", "input_text"):
        raise InputError(f"{place}/type: must be one of output_text, refusal, not {shown(sort)}")
    return {"type": "output_text", "text": text_at(part, "text", place, empty=True), "annotations": []}


def _function_call(item: Item, place: str, id: str | None, suffix: str) -> Item:
    return {
        "id": id or f"fc_{suffix}",
        "type": "function_call",
        "call_id": text_at(item, "call_id", place),
        "name": text_at(item, "name", place),
        "arguments": text_at(item, "arguments", place, empty=True),
        "status": _status(item, place),
    }


def _custom_tool_call(item: Item, place: str, id: str | None, suffix: str) -> Item:
    return {
        "id": id or f"ctc_{suffix}",
        "type": "custom_tool_call",
        "call_id": text_at(item, "call_id", place),
        "name": text_at(item, "name", place),
        "input": text_at(item, "input", place, empty=True),
        "status": _status(item, place),
    }


def _call_output(item: Item, place: str, id: str | None, suffix: str) -> Item:
    output = item.get("output")
    if isinstance(output, list):
        output = [_input_part(part, f"{place}/output/{number}") for number, part in enumerate(output)]
    elif not isinstance(output, str):
        raise InputError(f"{place}/output: must be a text or a list of parts, not {kind(output)}")
    custom = item["type"] == "custom_tool_call_output"
    return {
        "id": id or f"{'ctco' if custom else 'fco'}_{suffix}",
        "type": item["type"],
        "call_id": text_at(item, "call_id", place),
        "output": output,
        "status": _status(item, place),
    }


def _reasoning(item: Item, place: str, id: str | None, suffix: str) -> Item:
    completed: Item = {"id": id or f"rs_{suffix}", "type": "reasoning"}
    for name, sort in (("summary", "summary_text"), ("content", "reasoning_text")):
        parts = item.get(name) or []
        if not isinstance(parts, list):
            raise InputError(f"{place}/{name}: must be a list of parts, not {kind(parts)}")
        completed[name] = [
            {
                "type": sort,
                "text": text_at(
                    _checked_part(part, f"{place}/{name}/{at}", sort), "text", f"{place}/{name}/{at}", empty=True
                ),
            }
            for at, part in enumerate(parts)
        ]
    if item.get("encrypted_content") is not None:
        completed["encrypted_content"] = text_at(item, "encrypted_content", place, empty=True)
    return completed | {"status": _status(item, place)}


ITEMS: dict[str, Callable[[Item, str, str | None, str], Item]] = {
    "message": _message,
    "function_call": _function_call,
    "function_call_output": _call_output,
    "custom_tool_call": _custom_tool_call,
    "custom_tool_call_output": _call_output,
    "reasoning": _reasoning,
}


def references(given: Any) -> list[str]:
    """Return the ids that the `item_reference`s of `input` name, as far as they are texts."""
    items = given if isinstance(given, list) else []
    ids = (
        item.get("id")
        for item in items
        if isinstance(item, dict) and (item.get("type") == "item_reference" or set(item) == {"id"})
    )
    return [id for id in ids if isinstance(id, str)]


def text_at(value: Mapping[str, Any], name: str, place: str, *, empty: bool = False) -> str:
    """Return the text `value[name]`. Raises `InputError` for anything else, and for an empty one unless it may be `empty`."""
    text = value.get(name)
    if not isinstance(text, str) or not (text or empty):
        raise InputError(f"{place}/{name}: must be a text{'' if empty else ' that is not empty'}, not {shown(text)}")
    return text


def _status(item: Item, place: str) -> str:
    status = item.get("status")
    if status not in (None, "in_progress", "completed", "incomplete"):
        raise InputError(f"{place}/status: must be one of in_progress, completed, incomplete, not {shown(status)}")
    return status or "completed"


def _type_of(part: Any, place: str) -> Any:
    if not isinstance(part, dict):
        raise InputError(f'{place}: must be a part like {{"type": "input_text", "text": …}}, not {kind(part)}')
    return part.get("type")


def _checked_part(part: Any, place: str, sort: str) -> Item:
    if _type_of(part, place) != sort:
        raise InputError(f"{place}/type: must be {sort}, not {shown(part.get('type'))}")
    return part


def _no_file_id(part: Item, place: str) -> None:
    if part.get("file_id") is not None:
        raise InputError(f"{place}/file_id: {NO_FILES}")
