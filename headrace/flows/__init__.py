"""Loops of calls and tools, as pure functions over a conversation: they say what to ask next, and ask nothing themselves."""
