"""Good requests of the Responses API, for a fuzzer to make wrong ones of."""

from __future__ import annotations

from typing import Any

LETTERS = "a" * 26
RESPONSE = f"resp_{LETTERS}"
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
ITEMS: list[dict[str, Any]] = [
    {"role": "developer", "content": "x"},
    {
        "type": "message",
        "role": "user",
        "content": [
            {"type": "input_text", "text": "x"},
            {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
            {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,AA=="},
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        ],
    },
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "x"}],
        "content": [{"type": "reasoning_text", "text": "x"}],
        "encrypted_content": "headrace1.eyJyZWFzb25pbmdfZGV0YWlscyI6W119",
    },
    {
        "id": f"msg_{LETTERS}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "x", "annotations": []}, {"type": "refusal", "refusal": "x"}],
    },
    {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"},
    {"type": "function_call_output", "call_id": "c1", "output": "x"},
    {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "x"}]},
    {"type": "item_reference", "id": f"msg_{LETTERS}"},
]
ASKED: dict[str, Any] = {
    "model": "rehearsal/small",
    "input": ITEMS,
    "instructions": "x",
    "tools": [
        {"type": "function", "name": "f", "parameters": SCHEMA, "strict": True, "description": "x"},
        {"type": "custom", "name": "g", "format": {"type": "grammar", "syntax": "regex", "definition": "a+"}},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "parallel_tool_calls": True,
    "text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA, "strict": True}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "max_output_tokens": 16,
    "max_tool_calls": 3,
    "metadata": {"k": "v"},
    "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
    "store": True,
    "background": False,
    "stream": False,
    "previous_response_id": None,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_logprobs": 2,
    "truncation": "auto",
    "service_tier": "auto",
    "user": "u",
    "headrace": {"timeout_s": 5, "cache": False, "join": False},
}
RESPONSE_BODIES: dict[str, dict[str, Any]] = {
    "/v1/responses": ASKED,
    "/v1/responses?": {**ASKED, "input": ITEMS[1:-1], "tool_choice": "auto"},
    "/v1/responses?a": {"model": "rehearsal/small", "input": "x", "stream": True},
    "/v1/responses?b": {"model": "rehearsal/small", "input": "x", "background": True},
    f"/v1/responses/{RESPONSE}/cancel": {},
}
"""By route; a query that means nothing tells two bodies of one route apart."""
RESPONSE_HEADS = [
    b"GET /v1/responses/%b?stream=true&starting_after=1&include[]=x HTTP/1.1\r\nHost: localhost\r\n\r\n"
    % RESPONSE.encode(),
    b"GET /v1/responses/%b/input_items?limit=2&order=asc&after=msg_1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    % RESPONSE.encode(),
    b"DELETE /v1/responses/%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % RESPONSE.encode(),
]
