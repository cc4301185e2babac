"""Tools of the Responses API as those of a chat, and as a response shows them."""

from __future__ import annotations

from typing import Any

from headrace.chat.messages import kind, shown
from headrace.chat.responses_items import text_at
from headrace.errors import InputError

ToolObject = dict[str, Any]
TOOL_TYPES = ("function", "custom")
MODES = ("auto", "required")


def listed_tools(given: Any) -> list[ToolObject]:
    """Return `tools` as a response shows them. Raises `InputError` naming the place by JSON Pointer."""
    if given is None:
        return []
    if not isinstance(given, list):
        raise InputError(f"/tools: must be a list of tools, not {kind(given)}")
    return [_listed(tool, f"/tools/{place}") for place, tool in enumerate(given)]


def chat_tools(tools: list[ToolObject], choice: Any) -> tuple[list[ToolObject], Any]:
    """Return tools (`listed_tools`) and a `tool_choice` as a chat has them.

    Only some providers know `allowed_tools`: the tools that it does not allow are left out instead. Raises `InputError`.
    """
    chosen = _checked_choice(choice, tools)
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = {(tool.get("type"), tool.get("name")) for tool in choice["tools"]}
        tools = [tool for tool in tools if (tool["type"], tool["name"]) in allowed]
    return [_chat_tool(tool) for tool in tools], chosen


def _listed(tool: Any, place: str) -> ToolObject:
    if not isinstance(tool, dict):
        raise InputError(f'{place}: must be a tool like {{"type": "function", "name": …}}, not {kind(tool)}')
    sort = tool.get("type")
    if sort not in TOOL_TYPES:
        raise InputError(
            f"{place}/type: must be one of {', '.join(TOOL_TYPES)}, not {shown(sort)}: a chat-completions provider has no "
            "built-in tools"
        )
    for name in ("async", "defer_loading"):
        if tool.get(name) not in (None, False):
            raise InputError(f"{place}/{name}: a chat-completions provider does not know it; leave it out")
    if tool.get("allowed_callers") not in (None, ["direct"]):
        raise InputError(f'{place}/allowed_callers: only ["direct"] is possible with a chat-completions provider')
    described = _optional_text(tool, "description", place)
    listed: ToolObject = {"type": sort, "name": text_at(tool, "name", place)}
    if sort == "custom":
        form = tool.get("format")
        return listed | described | ({} if form is None else {"format": _input_format(form, f"{place}/format")})
    parameters, strict = tool.get("parameters"), tool.get("strict")
    if not isinstance(parameters, dict | None):
        raise InputError(f"{place}/parameters: must be a JSON Schema, an object, not {kind(parameters)}")
    if not isinstance(strict, bool | None):
        raise InputError(f"{place}/strict: must be true or false, not {kind(strict)}")
    return listed | described | {"parameters": parameters, "strict": strict}


def _input_format(form: Any, place: str) -> ToolObject:
    sort = form.get("type") if isinstance(form, dict) else None
    if sort == "text":
        return {"type": "text"}
    if sort != "grammar":
        raise InputError(f'{place}/type: must be "text" or "grammar", not {shown(sort)}')
    if form.get("syntax") not in ("lark", "regex"):
        raise InputError(f'{place}/syntax: must be "lark" or "regex", not {shown(form.get("syntax"))}')
    return {"type": "grammar", "definition": text_at(form, "definition", place), "syntax": form["syntax"]}


def _optional_text(tool: ToolObject, name: str, place: str) -> ToolObject:
    value = tool.get(name)
    if not isinstance(value, str | None):
        raise InputError(f"{place}/{name}: must be a text, not {kind(value)}")
    return {} if value is None else {name: value}


def _chat_tool(tool: ToolObject) -> ToolObject:
    inside = {name: value for name, value in tool.items() if name != "type" and value is not None}
    if inside.get("format", {}).get("type") == "grammar":
        grammar = {name: inside["format"][name] for name in ("definition", "syntax")}
        inside["format"] = {"type": "grammar", "grammar": grammar}
    return {"type": tool["type"], tool["type"]: inside}


def _checked_choice(choice: Any, tools: list[ToolObject]) -> Any:
    """Return a `tool_choice` as a chat has it, None for none."""
    if choice is None or (choice in ("auto", "none") and isinstance(choice, str)):
        return choice if tools else None
    if choice != "required" and not isinstance(choice, dict):
        raise InputError(f"/tool_choice: must be auto, none, required or an object, not {shown(choice)}")
    if not tools:
        raise InputError("/tool_choice: there are no tools to choose from; give `tools`")
    if choice == "required":
        return choice
    sort = choice.get("type")
    if sort in TOOL_TYPES:
        name = text_at(choice, "name", "/tool_choice")
        _check_known(sort, name, tools, "/tool_choice/name")
        return {"type": sort, sort: {"name": name}}
    if sort != "allowed_tools":
        raise InputError(f"/tool_choice/type: must be function, custom or allowed_tools, not {shown(sort)}")
    if choice.get("mode") not in MODES:
        raise InputError(f"/tool_choice/mode: must be auto or required, not {shown(choice.get('mode'))}")
    allowed = choice.get("tools")
    if not isinstance(allowed, list) or not allowed:
        raise InputError(f"/tool_choice/tools: must be a list of tools that is not empty, not {kind(allowed)}")
    for at, tool in enumerate(allowed):
        place = f"/tool_choice/tools/{at}"
        if not isinstance(tool, dict) or tool.get("type") not in TOOL_TYPES:
            raise InputError(
                f'{place}/type: must be function or custom, in an object like {{"type": "function", "name": …}}'
            )
        _check_known(tool["type"], text_at(tool, "name", place), tools, f"{place}/name")
    return choice["mode"]


def _check_known(sort: str, name: str, tools: list[ToolObject], place: str) -> None:
    if not any((tool["type"], tool["name"]) == (sort, name) for tool in tools):
        raise InputError(f"{place}: there is no {sort} tool {shown(name)} among `tools`")


def listed_choice(choice: Any) -> Any:
    """Return a checked `tool_choice` as a response shows it."""
    if not isinstance(choice, dict):
        return choice or "auto"
    if choice["type"] == "allowed_tools":
        return {"type": "allowed_tools", "mode": choice["mode"], "tools": choice["tools"]}
    return {"type": choice["type"], "name": choice["name"]}
