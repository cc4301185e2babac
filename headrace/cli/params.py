"""The values of `--schema`, `--tools` and `--messages`: a JSON Schema file, a Python type as `module:Type`, a file of tools, one
of a conversation."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from headrace.cli.schema_files import with_files
from headrace.errors import InputError, SchemaError
from headrace.guards.small_files import read_stream, read_whole
from headrace.jobs.build import tool_definitions
from headrace.schema.python_types import answer_type
from headrace.text.quoting import shortened
from headrace.text.readable import UNREADABLE


def given_schema(word: str | None, option: str = "--schema ", *, check: bool = True) -> tuple[Any, str | None]:
    """Return the schema (a dict, or a type) and its name. Raises `InputError` naming the file and the place in it;
    `option` stands before the name in complaints; without `check` a schema is taken as it is, without the files that it
    refers to."""
    if word is None:
        return None, None
    word_said = f"{option}{word}"
    module, colon, name = word.rpartition(":")
    if colon and module and not Path(word).exists():
        return checked(word_said, imported(word_said, module, name)), None
    path = Path(word)
    try:
        schema = msgspec.json.decode(
            read_stream(sys.stdin.buffer, "standard input") if word == "-" else read_whole(path)
        )
    except OSError as error:
        raise InputError(f"{word_said}: {error.strerror} (a JSON Schema file, or module:Type)") from None
    except UNREADABLE as error:
        raise InputError(f"{word_said}: not JSON: {error}") from None
    if not isinstance(schema, dict):
        raise SchemaError(f"{word_said}: the schema must be a JSON object, not {type(schema).__name__}")
    if check:
        with named(word_said):
            schema = with_files(schema, word)
    return checked(word_said, schema) if check else schema, path.stem


def given_text(word: str, option: str) -> str:
    """Return the text that an option names: itself, or with `@` before it what is in that file (`@@`: a text that
    begins with `@`). Raises `InputError` naming the file."""
    if not word.startswith("@") or word.startswith("@@"):
        return word.removeprefix("@") if word.startswith("@") else word
    try:
        text = read_whole(Path(word[1:])).decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{option} {word}: {error.strerror}; for a text that begins with @ write @@") from None
    except UnicodeError as error:
        raise InputError(f"{option} {word}: not a UTF-8 text: {error}") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise InputError(f"{option} {word}: the file is empty")
    return text


def given_file(word: str | None) -> Path | None:
    """Return the file that an `@file` names."""
    return Path(word[1:]) if word and word.startswith("@") and not word.startswith("@@") else None


def given_tools(word: str | None) -> list[Any] | None:
    """Return the tools in a JSON file: a list, or the `tools` of an object. Raises `InputError` naming the file."""
    if word is None:
        return None
    try:
        tools = msgspec.json.decode(read_whole(Path(word)))
    except OSError as error:
        raise InputError(f"--tools {word}: {error.strerror} (a JSON file with a list of tools)") from None
    except UNREADABLE as error:
        raise InputError(f"--tools {word}: not JSON: {error}") from None
    tools = tools.get("tools") if isinstance(tools, dict) else tools
    if not isinstance(tools, list) or not tools:
        raise InputError(f"--tools {word}: must be a list of tools, at least one")
    try:
        tool_definitions(tools)
    except InputError as error:
        raise InputError(f"--tools {word}: {error}") from None
    return tools


def given_messages(word: str | None) -> Any:
    """Return what is in a JSON file of a conversation. Raises `InputError` naming the file, and the line of broken JSON."""
    if word is None:
        return None
    try:
        content = read_whole(Path(word))
        return json.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise InputError(f"--messages {word}: {error.strerror} (a JSON file with a list of messages)") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"--messages {word}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}"
        ) from None
    except UNREADABLE as error:
        raise InputError(f"--messages {word}: not JSON: {shortened(str(error))}") from None


def imported(word: str, module: str, name: str) -> Any:
    if "" not in sys.path:
        sys.path.insert(0, "")  # the caller's own modules lie in the current folder, as with `python -m`
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except ImportError as error:
        raise InputError(f"{word}: {shortened(str(error))} (looked in the current folder and in this Python)") from None
    except AttributeError:
        raise InputError(f"{word}: module {module} has no {name}") from None
    except (Exception, SystemExit) as error:  # whatever the module does when it is imported
        raise InputError(
            f"{word}: module {module} cannot be imported: {type(error).__name__}: {shortened(str(error))}"
        ) from None
    return found


def checked(word: str, schema: Any) -> Any:
    with named(word):
        answer_type(schema)
    return schema


@contextmanager
def named(word: str) -> Iterator[None]:
    """Begin complaints about a schema with the name that the caller gave it."""
    try:
        yield
    except SchemaError as error:
        raise SchemaError(f"{word}: {error}", pointer=error.pointer, keyword=error.keyword) from None
