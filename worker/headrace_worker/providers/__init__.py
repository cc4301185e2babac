"""The provider classes: request → transport → reduce."""

from headrace_worker.providers.chat import ChatCompletion
from headrace_worker.providers.openai import OpenAIChatCompletion
from headrace_worker.providers.openrouter import OpenRouterChatCompletion
from headrace_worker.providers.registry import Model
from headrace_worker.providers.vllm import VLLMChatCompletion

__all__ = ["ChatCompletion", "Model", "OpenAIChatCompletion", "OpenRouterChatCompletion", "VLLMChatCompletion"]
