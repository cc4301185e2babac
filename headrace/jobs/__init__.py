"""One completion asked for: the `Job`, how it is built from a caller's arguments, and how it is retried.

Building does no I/O. Sending a job belongs in `client`, its record in `ledger`, many jobs with one lifecycle in `batches`; what a
request and an answer consist of, in `chat`.
"""
