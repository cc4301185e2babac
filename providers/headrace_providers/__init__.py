"""The provider classes, usable without a queue: a request is built, sent, and its chunks are reduced to a `Completion`.

Here belong dialects, transports, retries of a direct call, the response cache. Records, events, brokers and Celery do not, and
nothing here imports them. What a request and an answer consist of is in `headrace.chat`, schemas in `headrace.schema`.
"""

from headrace_providers.chat_completion import ChatCompletion
from headrace_providers.openai import OpenAIChatCompletion
from headrace_providers.openrouter import OpenRouterChatCompletion
from headrace_providers.registry import Model
from headrace_providers.vllm import VLLMChatCompletion

__all__ = ["ChatCompletion", "Model", "OpenAIChatCompletion", "OpenRouterChatCompletion", "VLLMChatCompletion"]
