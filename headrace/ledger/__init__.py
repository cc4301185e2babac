"""The records in Redis and their moves: one Lua script and one module of the same name per move, keys in `keys`, states in
`state`, reads for people in `records`.

Nothing else writes a record. What a body or a result holds is not known here.
"""
