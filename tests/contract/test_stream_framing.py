"""A stream cut at every byte, in every framing, over a real connection: the same completion."""

from __future__ import annotations

import json
import zlib
from itertools import product

import pytest
from bare_provider import SSE_HEAD, Reply, bare_provider
from fake_transport import USAGE, piece
from headrace_providers import OpenAIChatCompletion

from headrace.chat.options import Options
from headrace.jobs.job import Job

pytestmark = pytest.mark.usefixtures("each_transport")

CHUNKS = [piece(content="hé"), piece("stop", content="🙂"), {"id": "c", "choices": [], "usage": USAGE}]
BOM = b"\xef\xbb\xbf"
JOB = Job(model="openai/m", messages=[{"role": "user", "content": "x"}], options=Options(), stream=True)


def body_of(end: str, bom: bool) -> bytes:
    lines = [": a comment", ""]
    for chunk in CHUNKS:
        lines += [f"data: {json.dumps(chunk, ensure_ascii=False)}", ""]
    return (BOM if bom else b"") + end.join([*lines, "data: [DONE]", "", ""]).encode()


@pytest.mark.parametrize(("end", "bom"), [*product(["\n", "\r\n", "\r"], [False, True])])
@pytest.mark.parametrize("packed", [False, True])
async def test_cut_at_every_byte(end: str, bom: bool, packed: bool) -> None:
    body, head = body_of(end, bom), SSE_HEAD
    if packed:
        packer = zlib.compressobj(wbits=31)
        body, head = packer.compress(body) + packer.flush(), SSE_HEAD | {"Content-Encoding": "gzip"}
    async with bare_provider() as provider:
        model = OpenAIChatCompletion("m", base_url=provider.url, api_key="none-such", retry=False)
        for at in range(1, len(body)):
            provider.reply = Reply([body[:at], body[at:]], head)
            completion = await model.complete(JOB)
            assert (completion.content, completion.finish_reason, completion.raw_usage) == ("hé🙂", "stop", USAGE), at
        provider.reply = Reply([bytes([byte]) for byte in body], head)
        assert (await model.complete(JOB)).content == "hé🙂"
        assert len(provider.requests) == len(body)
        await model.close()
