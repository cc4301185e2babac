"""The worker: Celery app, asyncio pool, leases and quarantine of a process; attempts, the engine and maintenance in packages.

What a provider's wire looks like belongs in `headrace_providers`, records and their moves in `headrace.ledger`. The gateway is
never imported: the two meet in the ledger and the event logs.
"""
