"""Commands packed by hiredis: the bytes are those of redis-py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio.connection import Connection
from redis.exceptions import DataError

from headrace.ledger import command_packing
from headrace.ledger.command_packing import packing
from headrace.ledger.script import connect

ARGUMENTS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.binary(max_size=20),
    st.integers(),
    st.floats(allow_nan=False),
    st.binary(min_size=7000, max_size=7001),
    st.binary(max_size=20).map(memoryview),
)


@given(st.sampled_from(["GET", "CONFIG GET", b"EVALSHA", "xadd"]), st.lists(ARGUMENTS, max_size=8))
def test_the_bytes_are_those_of_redis_py(name: str | bytes, arguments: list[object]) -> None:
    ours, theirs = packing(Connection)(), Connection()
    command = (name, *arguments)
    assert b"".join(ours.pack_command(*command)) == b"".join(theirs.pack_command(*command))  # type: ignore[arg-type]
    two = [command, ("PING",)]
    assert b"".join(ours.pack_commands(two)) == b"".join(theirs.pack_commands(two))  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, True, [], object()])
def test_what_cannot_be_sent_is_refused_as_before(wrong: object) -> None:
    with pytest.raises(DataError):
        packing(Connection)().pack_command("SET", "a", wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["redis://localhost:1", "rediss://localhost:1", "unix:///nowhere"])
def test_every_ledger_packs_so(url: str) -> None:
    pool = connect(url).connection_pool
    own = pool.connection_class
    assert own.__dict__["pack_command"] is not own.__base__.__dict__.get("pack_command")


def test_the_base_install_has_the_connections_of_redis_py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_packing, "pack_command", None)
    assert packing(Connection) is Connection
