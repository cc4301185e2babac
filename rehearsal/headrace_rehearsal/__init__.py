"""A stand-in, OpenAI-compatible provider: answers from the schema and the prompt, misbehaves on request, keeps account."""
