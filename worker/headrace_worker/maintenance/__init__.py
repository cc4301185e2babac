"""Maintenance: the duties that keep the ledger going, done by one worker at a time, the leader; one module per duty.

A duty moves records and publishes hints. It runs no job and calls no provider: that belongs in `execution` and `engine`.
"""
