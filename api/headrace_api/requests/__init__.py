"""Requests: bodies read as jobs, bounded, and questions whose answer may be unread.

Paths and answers belong in `routes`, who may ask in `access`, streams in `streaming`.
"""
