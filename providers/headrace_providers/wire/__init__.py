"""The wire: the builder of requests, transports, readers of streams, and the reducer of chunks to a completion.

Classes that a caller uses belong one level up; options and messages in `headrace.chat`.
"""
