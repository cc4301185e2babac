"""Many completions with one lifecycle: what a batch is made from (`inputs`, `media`), its template, how it is
opened (`ingest`, `create`), and what comes out of it (`outputs`).

What one completion is asked for with belongs in `jobs`; the moves of a batch's record in `ledger`.
"""
