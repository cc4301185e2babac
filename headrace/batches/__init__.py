"""Many completions with one lifecycle: what a batch is made from (`sources` and a reader for each format, `openai_form`),
its template, how it is opened (`ingest`, `create`), and what comes out of it (`output_lines`, `results`, `export`).

What one completion is asked for with belongs in `jobs`; the moves of a batch's record in `ledger`.
"""
