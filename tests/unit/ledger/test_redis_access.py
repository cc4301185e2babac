"""Redis is read and written in `headrace/ledger/` alone, and a key is composed in its `keys.py` alone: held over the syntax trees
of all packages that ship."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.commands import AsyncCoreCommands, CoreCommands

from headrace.ledger.keys import KINDS

ROOT = Path(__file__).parents[3]
PACKAGES = ("headrace", "worker/headrace_worker", "api/headrace_api", "providers/headrace_providers", "rehearsal")
LEDGER = "headrace/ledger/"
KEYS = "headrace/ledger/keys.py"

METHODS = {*dir(AsyncCoreCommands), *dir(CoreCommands), "execute_command", "pipeline", "pubsub"}
COMMANDS = {name for name in METHODS if not name.startswith("_")}
"""The methods of a Redis client and of its pipeline that send a command."""
CLIENTS = re.compile(r"_?(client|pipeline|pipe|redis|connection|stranger)")
"""The names under which a client is held; one that a file binds to what makes a client counts as well."""
CLASSES = {"Redis", "Pipeline"}
MAKERS = {"pipeline", "from_url", "from_pool", "Redis", "connect"}

ALLOWED: dict[str, tuple[set[str], str]] = {
    "headrace/broker/queue.py": ({"llen"}, "the list in which hints wait is Celery's, not the ledger's"),
    "worker/headrace_worker/hint_channel.py": (
        {"hget", "zadd"},
        "kombu's own channel, on the hints that Celery holds",
    ),
    "headrace/doctor/access.py": ({"ping"}, "asks whether the server answers a stranger"),
    "headrace/doctor/context.py": ({"config_get", "info", "ping"}, "asks the server how it is configured"),
    "headrace/doctor/server.py": ({"ping", "info", "time"}, "asks the server for its version and its clock"),
    "headrace/local/stack.py": ({"ping"}, "asks whether a server is there, before there is a ledger"),
    "headrace/local/valkey.py": ({"ping"}, "asks whether the server that it started is there"),
    "worker/headrace_worker/__main__.py": ({"ping"}, "asks whether a server is there, before there is a ledger"),
}
"""What is no read of the ledger: the file, the commands, and why."""

SUFFIXES = {
    *(kind.pattern.rpartition(">:")[2] for kind in KINDS if ">:" in kind.pattern and not kind.pattern.endswith(">")),
    "ch",
}


def last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def makes_client(node: ast.expr) -> bool:
    """Whether the value is a client or a pipeline: made here, or taken from a ledger."""
    if isinstance(node, ast.Call):
        return last_name(node.func) in MAKERS
    return last_name(node) == "client" and isinstance(node, ast.Attribute)


def bound_clients(tree: ast.AST) -> set[str]:
    """The names that a file binds to a client or a pipeline."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and makes_client(node.value):
            names |= {last_name(target) for target in node.targets}
        elif isinstance(node, ast.AnnAssign) and node.value is not None and makes_client(node.value):
            names.add(last_name(node.target))
        elif isinstance(node, ast.NamedExpr) and makes_client(node.value):
            names.add(node.target.id)
        elif isinstance(node, ast.arg) and node.annotation is not None and last_name(node.annotation) in CLASSES:
            names.add(node.arg)
        elif isinstance(node, ast.With | ast.AsyncWith):
            for item in node.items:
                if item.optional_vars is not None and makes_client(item.context_expr):
                    names.add(last_name(item.optional_vars))
    return names - {""}


def commands(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and the name of every Redis command that is called, and of every connection taken out of a ledger."""
    bound = bound_clients(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in COMMANDS:
            of = last_name(node.func.value)
            if CLIENTS.fullmatch(of) or of in bound:
                yield node.lineno, node.func.attr
        elif isinstance(node, ast.Attribute) and node.attr == "client" and re.search(r"ledger$", last_name(node.value)):
            yield node.lineno, "the ledger's connection"


def suffixes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and the text of every key that is composed: a value, then `:log` or another suffix of `keys.py`."""
    for node in ast.walk(tree):
        parts: list[ast.expr] = []
        if isinstance(node, ast.JoinedStr):
            parts = node.values[1:]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            parts = [node.right]
        for part in parts:
            if (
                isinstance(part, ast.Constant)
                and isinstance(part.value, str)
                and part.value.startswith(":")
                and part.value[1:] in SUFFIXES
            ):
                yield node.lineno, part.value


def prefixes(tree: ast.AST) -> Iterator[int]:
    """The line of every use of `keys.prefix`, of which any key could be made."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "prefix" and last_name(node.value).endswith("keys"):
            yield node.lineno


def trees(*, outside: str) -> Iterator[tuple[str, ast.AST]]:
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            name = file.relative_to(ROOT).as_posix()
            if not name.startswith(outside):
                yield name, ast.parse(file.read_text())


def test_redis_is_read_and_written_in_the_ledger_alone() -> None:
    found: list[str] = []
    used: dict[str, set[str]] = {}
    for name, tree in trees(outside=LEDGER):
        allowed, _ = ALLOWED.get(name, (set(), ""))
        for line, command in commands(tree):
            if command in allowed:
                used.setdefault(name, set()).add(command)
            else:
                found.append(f"{name}:{line}: {command}")
    assert found == []
    assert used == {name: allowed for name, (allowed, _) in ALLOWED.items()}, "an exception that nobody needs any more"


def test_a_key_is_composed_in_one_file() -> None:
    found = [f"{name}:{line}: {text}" for name, tree in trees(outside=KEYS) for line, text in suffixes(tree)]
    assert found == []
    assert [f"{name}:{line}" for name, tree in trees(outside=LEDGER) for line in prefixes(tree)] == []


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("async def f(ledger): await ledger.client.hget('k', 'f')", 2),
        ("async def f(self): await self._ledger.client.get('k')", 2),
        ("async def f(c):\n async with c.pipeline() as several:\n  several.hmget('k', ['f'])", 1),
        ("def f(x):\n import redis\n server = redis.Redis.from_url(x)\n server.ping()", 1),
        ("def f(bench):\n mine = bench.client\n mine.llen('k')", 1),
        ("def f(client): client.pipeline()", 1),
        ("def f(server: redis.Redis): server.get('k')", 1),
        ("def f(headers, client): headers.get('a'); client.jobs(); client.close()", 0),
    ],
)
def test_a_command_is_seen_however_its_client_is_called(source: str, count: int) -> None:
    assert len(list(commands(ast.parse(source)))) == count


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("f'{key}:body'", 1),
        ("key + ':res'", 1),
        ("f'{self._key}:parts'", 1),
        ("f'{name}: the log'", 0),
        ("f'{name}:{line}'", 0),
        ("'x:log'", 0),
    ],
)
def test_a_composed_key_is_seen(source: str, count: int) -> None:
    assert len(list(suffixes(ast.parse(source)))) == count
