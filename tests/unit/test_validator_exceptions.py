"""Whatever a caller's validator raises is a refusal, of a bounded length; text is never taken for a value of a type."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from headrace.batches.outputs.results import value_of
from headrace.chat.completion import Completion, Usage
from headrace.errors import JobFailed
from headrace.schema.python_types import MAX_REFUSAL_CHARS, AnswerType, answer_type

COMPLETION = Completion(
    id="x",
    model="m",
    created=1,
    usage=Usage(1, 1),
    content='{"a":1}',
    value={"a": 1},
    mode="strict",
    finish_reason="stop",
)


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Exiting(Exception):
    def __str__(self) -> str:
        raise SystemExit(0)


class OtherErrors(Exception):
    error_count = 3

    def errors(self) -> list[int]:
        return [1]


class NoErrors(ValueError):
    errors = "no"


def refusing(error: BaseException) -> AnswerType[Any]:
    def read(value: Any) -> Any:
        raise error

    return AnswerType({"type": "object"}, "answer", read)


def refusal(error: BaseException) -> str:
    with pytest.raises(JobFailed) as raised:
        value_of("job", COMPLETION, refusing(error))
    assert (raised.value.code, raised.value.partial) == ("invalid_output", '{"a":1}')
    raised.value.failure.message.encode()
    return raised.value.failure.message


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(0),
        SystemExit(7),
        asyncio.CancelledError(),
        GeneratorExit(),
        BaseExceptionGroup("odd", [SystemExit(0)]),
        StopIteration(3),
        MemoryError(),
        RecursionError(),
        Mute(),
        Exiting(),
        OtherErrors("q"),
        NoErrors("q"),
        ValueError("bad \ud800 here"),
        ValueError(""),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_exception_of_a_validator_is_a_refusal(error: BaseException) -> None:
    assert "not the type" in refusal(error)


def test_an_interrupt_is_the_users_where_one_can_come_and_a_refusal_elsewhere() -> None:
    with pytest.raises(KeyboardInterrupt):
        value_of("job", COMPLETION, refusing(KeyboardInterrupt()))
    assert "KeyboardInterrupt" in elsewhere(lambda: refusal(KeyboardInterrupt()))


def elsewhere(work: Callable[[], str]) -> str:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join(10)
    return found[0]


def test_a_refusal_is_bounded() -> None:
    assert len(refusal(ValueError("x" * 5_000_000))) < MAX_REFUSAL_CHARS + 100


def test_a_text_is_no_value_of_a_type() -> None:
    text = msgspec.structs.replace(COMPLETION, content="said", value=None, mode=None)
    for wanted in (answer_type(dict[str, int]), answer_type({"type": "object"})):
        with pytest.raises(JobFailed, match="asked without a schema") as raised:
            value_of("job", text, wanted)
        assert (raised.value.code, raised.value.partial) == ("invalid_output", "said")
    assert value_of("job", text, answer_type(None)) == "said"
