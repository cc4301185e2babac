"""Requests: bodies decoded to jobs within limits, and requests whose answer may be unread.

Paths and answers belong in `routes`, authorization in `access`, streams in `streaming`.
"""
