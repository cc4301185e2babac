"""Requests and answers in OpenAI's shape: messages, tools, options, completions, and what is known of providers.

Nothing here knows jobs, batches, Redis or HTTP. JSON Schema belongs in `schema`, wire formats of providers in the provider
classes.
"""
