"""Attempts: a claimed record is run, be it a job, a shard or the join of a batch. Each ends its record in one fenced move.

The call to the model and its retries belong in `engine`, the events of an attempt in `publishing`; which record is run, and when,
in `maintenance` and the tasks.
"""
