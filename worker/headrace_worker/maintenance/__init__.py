"""Maintenance of the ledger: periodic duties of the leader, one worker at a time; one module per duty.

A duty moves records and publishes hints. It runs no job and calls no provider: that belongs in `execution` and `engine`.
"""
