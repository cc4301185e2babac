"""A job's event log as its readers see it: the types of events, ids and cursors, the fold into a message, and the reader
with its buffer and its subscription.

Writing events belongs to the worker; the log's keys and moves to `ledger`.
"""
