"""The read side of a job's event log: event types, ids and cursors, the fold (reducer) into a message, and the reader with
its buffer and its subscription.

Writing events belongs to the worker; the log's keys and moves to `ledger`.
"""
