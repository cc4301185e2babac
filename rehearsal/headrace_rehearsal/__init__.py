"""A stand-in, OpenAI-compatible provider: answers from schema and prompt, misbehaves on request, keeps account."""
