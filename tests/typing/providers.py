"""What an editor knows of a provider class's answers. `make check` reads this file; nothing runs it."""

from __future__ import annotations

from typing import assert_type

from headrace_providers import Model
from headrace_providers.response import Response, Stream


async def calls() -> None:
    model = Model.chat_completion("openai/gpt-5-mini", temperature=0)
    assert_type(model("x", system_prompt="s", temperature=0.5), Response)
    assert_type(model("x", stream=True), Stream)
    assert_type(await model.acall("x", typed_parser="typed_xml"), Response)
    assert_type(await model.acall("x", stream=True), Stream)
