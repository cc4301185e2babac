-- uses: clock events fence progress rows
local shard, rows, batch, held, log = unpack(KEYS)   -- hash, hash index -> row, hash, bytes of all rows held, stream
local epoch, channel = unpack(ARGV, 1, 2)            -- rest: index, row, '' of every row that an earlier batch paid for
local refused = refusal(shard, epoch)
if refused then return refused end
local batch_state = redis.call('HGET', batch, 'state')
if batch_state ~= 'in_progress' and batch_state ~= 'paused' and batch_state ~= 'cancelling' then
  return { 'CLOSED', batch_state or 'unknown' }
end
local fresh = set_rows(shard, rows, batch, held, 3, false)
redis.call('HINCRBY', batch, 'prefilled', fresh)
report(batch, log, channel, now_ms(), 'batch.progress', false)
return { 'OK', fresh }
