"""The command `headrace`: a module per noun, and what these share: words, options, output.

What a command does belongs in `client`, `batches` or `doctor`; nothing imports this package, and nothing here reads Redis.
"""
