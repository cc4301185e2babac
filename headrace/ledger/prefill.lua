-- uses: clock events fence sealed progress rows
local shard, rows, batch, held, log = unpack(KEYS)   -- hash, hash index -> row, hash, bytes of all rows held, stream
local epoch, channel = unpack(ARGV, 1, 2)            -- rest: index, row, "counter integer …" of every row that an earlier batch paid for
local refused = refusal(shard, epoch)
if refused then return refused end
local closed = sealed(batch)
if closed then return closed end
local fresh = set_rows(shard, rows, batch, held, 3)
redis.call('HINCRBY', batch, 'prefilled', fresh)
report(batch, log, channel, now_ms(), 'batch.progress', false)
return { 'OK', fresh }
