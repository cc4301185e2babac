"""Requests: bodies decoded to jobs within limits, requests that wait for their answer, and the record of its delivery.

Paths and answers belong in `routes`, authorization in `access`, streams in `streaming`.
"""
