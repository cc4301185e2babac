"""The producer's SDK: `AsyncHeadrace`, `Headrace`, the handles of jobs and batches, and streams.

It holds ids and connections; everything that it does to a record is a move of `ledger`.
"""
