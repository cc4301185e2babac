"""The records in Redis and their moves: one Lua script and one module of the same name per move, keys in `keys`, states in
`state`. Reads are functions with typed answers, in the module of their subject (`job_record`, `batch_record`, `event_log`,
…); `summaries` has the summaries that users see.

No other package reads or writes a record, or composes a key. Bodies and results are opaque bytes here.
"""
