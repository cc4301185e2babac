"""The dialects of OpenAI's API that rehearsal speaks, by the beginning of the path: what differs, and nothing else.

`/v1` is OpenAI's own. `/vllm/v1` gives reasoning as `reasoning` when thinking is on, a `stop_reason` with each choice, and
refuses what vLLM refuses. `/openrouter/v1` wants a key, gives reasoning as text and as `reasoning_details`, a
`native_finish_reason`, who answered, and a cost; its streams have comments, usage without being asked, and error objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

USD_PER_TOKEN = 0.000001


class RefusedRequest(Exception):
    """The request is answered with an error."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None):
        super().__init__(message)
        self.status, self.param, self.code = status, param, code
        self.retry_after_s: float | None = None


class OpenAIDialect:
    """The plain dialect; the others change one method or the other."""

    name = "openai"
    comment = b""  # before the first event of a stream
    always_usage = False

    def check(self, body: dict[str, Any], headers: Mapping[str, str]) -> None:
        """Raise `RefusedRequest` for what the provider would refuse."""

    def thinks(self, body: dict[str, Any]) -> bool:
        """Return True if the answer comes with reasoning."""
        return False

    def thought(self, text: str) -> dict[str, Any]:
        """Return the fields of a message or delta that carry reasoning."""
        return {}

    def choice(self, finish_reason: str | None) -> dict[str, Any]:
        """Return further fields of a choice."""
        return {}

    def answer(self) -> dict[str, Any]:
        """Return further fields of an answer, or of each chunk."""
        return {}

    def usage(self, used: dict[str, Any]) -> dict[str, Any]:
        return used

    def error(self, refused: RefusedRequest) -> dict[str, Any]:
        """Return the body of an error."""
        kind = (
            "server_error"
            if refused.status >= 500
            else "requests"
            if refused.status == 429
            else "invalid_request_error"
        )
        return {"error": {"message": str(refused), "type": kind, "param": refused.param, "code": refused.code}}

    def error_event(self, refused: RefusedRequest) -> dict[str, Any]:
        """Return an error in the middle of a stream."""
        return self.error(refused)


class VLLM(OpenAIDialect):
    name = "vllm"

    def check(self, body: dict[str, Any], headers: Mapping[str, str]) -> None:
        if body.get("tools") == []:
            raise RefusedRequest(400, "tools must not be an empty list", param="tools")
        if body.get("tool_choice") not in (None, "none") and not body.get("tools"):
            raise RefusedRequest(400, "When using `tool_choice`, `tools` must be set.", param="tool_choice")
        if body.get("top_logprobs") and not body.get("logprobs"):
            raise RefusedRequest(
                400, "when using `top_logprobs`, `logprobs` must be set to true.", param="top_logprobs"
            )
        if body.get("add_generation_prompt", True) and body.get("continue_final_message"):
            raise RefusedRequest(400, "Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
        nulls = sorted(name for name, value in body.items() if value is None)
        if nulls:
            raise RefusedRequest(400, f"null is not allowed: {', '.join(nulls)}", param=nulls[0])

    def thinks(self, body: dict[str, Any]) -> bool:
        arguments = body.get("chat_template_kwargs")
        return isinstance(arguments, dict) and arguments.get("enable_thinking") is True

    def thought(self, text: str) -> dict[str, Any]:
        return {"reasoning": text}

    def choice(self, finish_reason: str | None) -> dict[str, Any]:
        return {"stop_reason": None}


class OpenRouter(OpenAIDialect):
    name = "openrouter"
    comment = b": OPENROUTER PROCESSING\n\n"
    always_usage = True

    def check(self, body: dict[str, Any], headers: Mapping[str, str]) -> None:
        if not headers.get("Authorization", "").removeprefix("Bearer ").strip():
            raise RefusedRequest(401, "No auth credentials found")
        reasoning = body.get("reasoning")
        if isinstance(reasoning, dict) and "effort" in reasoning and "max_tokens" in reasoning:
            raise RefusedRequest(
                400, 'Only one of "reasoning.effort" and "reasoning.max_tokens" may be given', param="reasoning"
            )

    def thinks(self, body: dict[str, Any]) -> bool:
        reasoning = body.get("reasoning")
        return isinstance(reasoning, dict) and bool(reasoning) and not reasoning.get("exclude")

    def thought(self, text: str) -> dict[str, Any]:
        detail = {"type": "reasoning.text", "text": text, "format": "unknown", "index": 0}
        return {"reasoning": text, "reasoning_details": [detail]}

    def choice(self, finish_reason: str | None) -> dict[str, Any]:
        native = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
        return {"native_finish_reason": native.get(finish_reason or "", finish_reason)}

    def answer(self) -> dict[str, Any]:
        return {"provider": "Rehearsal"}

    def usage(self, used: dict[str, Any]) -> dict[str, Any]:
        return used | {"cost": round(used["total_tokens"] * USD_PER_TOKEN, 9), "is_byok": False}

    def error(self, refused: RefusedRequest) -> dict[str, Any]:
        kinds = {400: "invalid_request", 401: "authentication", 429: "rate_limit_exceeded", 503: "provider_overloaded"}
        kind = kinds.get(refused.status, "server" if refused.status >= 500 else "invalid_request")
        metadata = {"error_type": kind, "provider_code": refused.code}
        return {"error": {"code": refused.status, "message": str(refused), "metadata": metadata}}

    def error_event(self, refused: RefusedRequest) -> dict[str, Any]:
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error", "native_finish_reason": "error"}
        return self.error(refused) | {"choices": [choice]}


DIALECTS: dict[str, OpenAIDialect] = {"": OpenAIDialect(), "/vllm": VLLM(), "/openrouter": OpenRouter()}
