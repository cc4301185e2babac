"""vLLM's OpenAI-compatible server."""

from __future__ import annotations

from headrace.chat.provider_table import PROVIDERS, Provider
from headrace.jobs.job import Job
from headrace_providers.chat_completion import ChatCompletion
from headrace_providers.wire.request import Body


def adapt(body: Body, job: Job, provider: Provider) -> Body:
    """Return the body with thinking as an argument of the chat template, the two flags that continue a prefilling, and a
    schema where the server's version reads it."""
    thinking = body.pop("enable_thinking", None)
    if thinking is not None:
        body["chat_template_kwargs"] = {**body.get("chat_template_kwargs", {}), "enable_thinking": thinking}
    if job.prefilling:
        body["continue_final_message"] = True
        body["add_generation_prompt"] = False
    asked = body.get("response_format", {}).get("type") == "json_schema"
    if asked and provider.structured_output != "response_format":
        schema = body.pop("response_format")["json_schema"]["schema"]
        if provider.structured_output == "structured_outputs":
            body["structured_outputs"] = {"json": schema}
        else:
            body["guided_json"] = schema
    return body


class VLLMChatCompletion(ChatCompletion):
    """A model behind vLLM (`VLLM_BASE_URL`, `VLLM_API_KEY`)."""

    facts = PROVIDERS["vllm"]
    adapt = staticmethod(adapt)
