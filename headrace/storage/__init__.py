"""The file store: input, parts and results of batches, committed whole and never overwritten.

Bytes under a name, no more: what the lines of a file mean belongs in `batches`, which store a service uses in `ledger`.
"""
