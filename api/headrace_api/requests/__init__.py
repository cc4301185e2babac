"""Requests: bodies read as jobs, bounded, and questions whose answer may be unread."""
