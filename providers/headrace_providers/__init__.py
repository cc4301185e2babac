"""The provider classes: request → transport → reduce."""

from headrace_providers.chat_completion import ChatCompletion
from headrace_providers.openai import OpenAIChatCompletion
from headrace_providers.openrouter import OpenRouterChatCompletion
from headrace_providers.registry import Model
from headrace_providers.vllm import VLLMChatCompletion

__all__ = ["ChatCompletion", "Model", "OpenAIChatCompletion", "OpenRouterChatCompletion", "VLLMChatCompletion"]
