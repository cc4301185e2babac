"""Stream one answer with a client of another project, and ask again at a second gateway when the first one breaks it off.

Arguments: the client, its kind of API, the two gateways, the prompt. Prints a line when the answer has begun, and at last what it
was and how often it was asked for, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator

MODEL = "gpt-5-mini"
PAUSE_S = 1.5


async def agents(base: str, prompt: str, *, responses: bool) -> AsyncIterator[str]:
    from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, set_tracing_disabled
    from openai import AsyncOpenAI

    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=f"{base}/v1", api_key="none")
    kind = OpenAIResponsesModel if responses else OpenAIChatCompletionsModel
    run = Runner.run_streamed(Agent(name="Assistant", model=kind(model=MODEL, openai_client=client)), prompt)
    async for event in run.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            yield event.data.delta
    assert run.final_output


async def pydantic_ai(base: str, prompt: str, *, responses: bool) -> AsyncIterator[str]:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    kind = OpenAIResponsesModel if responses else OpenAIChatModel
    provider = OpenAIProvider(base_url=f"{base}/v1", api_key="none")
    async with Agent(kind(MODEL, provider=provider)).run_stream(prompt) as run:
        async for piece in run.stream_text(delta=True, debounce_by=None):
            yield piece


async def langchain(base: str, prompt: str, *, responses: bool) -> AsyncIterator[str]:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model=MODEL, base_url=f"{base}/v1", api_key="none", use_responses_api=responses)
    async for piece in model.astream(prompt):
        yield piece.text if isinstance(piece.text, str) else piece.text()


CLIENTS = {"agents": agents, "pydantic-ai": pydantic_ai, "langchain": langchain}


async def main(client: str, kind: str, first: str, second: str, prompt: str) -> None:
    for tries in range(1, 6):
        pieces: list[str] = []
        try:
            async for piece in CLIENTS[client](first if tries == 1 else second, prompt, responses=kind == "responses"):
                pieces.append(piece)
                if tries == 1 and len(pieces) == 5:
                    print("begun", flush=True)
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            time.sleep(PAUSE_S)
            continue
        print(json.dumps({"text": "".join(pieces), "tries": tries}))
        return


asyncio.run(main(*sys.argv[1:]))
