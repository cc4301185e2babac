"""What headrace is measured against. One contender is one file here, and runs in an environment of its own
(`<name>.txt`, made by `make bench-peers`): it may import its peer, the OpenAI SDK, msgspec, jsonschema-rs and this folder.
"""
