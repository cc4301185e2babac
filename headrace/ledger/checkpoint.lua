-- uses: clock events fence sealed progress rows
local shard, rows, batch, held, leases, log = unpack(KEYS)   -- hash, hash index -> row, hash, bytes of all rows held, zset id -> ms, stream
local id, epoch, lease_ms, shard_bytes, all_bytes, item, channel = unpack(ARGV, 1, 7)   -- rest: index, row, "counter integer …"
local refused = refusal(shard, epoch)
if refused then return refused end
local closed, batch_state = sealed(batch)
if closed then return closed end
local size = 0
for i = 8, #ARGV, 3 do
  -- The place of a line in a segment file always fits, or a full ledger could not go on. A row sent twice is there already.
  if string.find(ARGV[i + 1], '^%l') and redis.call('HEXISTS', rows, ARGV[i]) == 0 then size = size + #ARGV[i + 1] end
end
if size > 0 and (tonumber(redis.call('HGET', shard, 'bytes')) + size > tonumber(shard_bytes)
    or tonumber(redis.call('GET', held) or 0) + size > tonumber(all_bytes)) then
  return { 'SPILL' }                                 -- the caller puts them into a segment file and names it
end
local fresh = set_rows(shard, rows, batch, held, 8)
local now = now_ms()
if fresh > 0 then redis.call('HSET', shard, 'progress', 1, 'crashes', 0) end
redis.call('HSET', shard, 'item', item)              -- in quarantine: which item runs next, should this be the last word
if item ~= '' then redis.call('HSET', shard, 'progress', 0) end   -- what others achieved is no excuse for this one
if redis.call('HGET', shard, 'state') == 'running' then
  redis.call('HSET', shard, 'lease', text(now + lease_ms))
  redis.call('ZADD', leases, text(now + lease_ms), id)
end
report(batch, log, channel, now, 'batch.progress', false)
return { 'OK', batch_state }
