"""Writing the event log: deltas of a call become events, and the events of all jobs are appended in groups.

Reading a log, and folding it, belongs in `headrace.events`; its keys and scripts in `headrace.ledger`.
"""
