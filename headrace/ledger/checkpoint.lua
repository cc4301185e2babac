-- uses: clock events fence sealed progress paused rows bill
local shard, rows, batch, held, leases, log = unpack(KEYS)   -- hash, hash index -> row, hash, bytes of all rows held, zset id -> ms, stream
local id, epoch, lease_ms, shard_bytes, all_bytes, item, channel, failing, failures, most_failures, reason, bill = unpack(ARGV, 1, 12)   -- rest: index, row, "counter integer …"
local refused = refusal(shard, epoch)
if refused then return refused end
settle(shard, bill)                                  -- also of a batch that takes no rows any more: it was paid
local closed, batch_state = sealed(batch)
if closed then return closed end
local size, succeeded = 0, false
for i = 13, #ARGV, 3 do
  -- The place of a line in a segment file always fits, or a full ledger could not go on. A row sent twice is there already.
  local fresh = redis.call('HEXISTS', rows, ARGV[i]) == 0
  if fresh and string.find(ARGV[i + 1], '^%l') then size = size + #ARGV[i + 1] end
  if fresh and string.find(ARGV[i + 1], '^[sS]') then succeeded = true end
end
if size > 0 and (tonumber(redis.call('HGET', shard, 'bytes')) + size > tonumber(shard_bytes)
    or tonumber(redis.call('GET', held) or 0) + size > tonumber(all_bytes)) then
  return { 'SPILL' }                                 -- the caller puts them into a segment file and names it
end
local fresh = set_rows(shard, rows, batch, held, 13)
local now = now_ms()
if succeeded then redis.call('HDEL', batch, 'waiting', 'failing', 'streak') end
if failing ~= '' then
  -- Failures that are no item's: of the whole batch, since its last success. `failures` counts all of this attempt, so that
  -- a call that is sent twice counts once.
  local attempt, known = string.match(redis.call('HGET', shard, 'counted') or '', '^(%d+) (%d+)$')
  local more = tonumber(failures) - (attempt == epoch and tonumber(known) or 0)
  if more > 0 then
    redis.call('HSET', shard, 'counted', epoch .. ' ' .. failures)
    if redis.call('HGET', batch, 'failing') ~= failing then redis.call('HSET', batch, 'failing', failing, 'streak', 0) end
    local streak = succeeded and 0 or redis.call('HINCRBY', batch, 'streak', more)
    if streak >= tonumber(most_failures) and batch_state == 'in_progress' then
      pause_batch(batch, log, channel, now, reason)
      batch_state = 'paused'
    end
  end
end
if fresh > 0 then redis.call('HSET', shard, 'progress', 1, 'crashes', 0, 'evidence', 0) end
if item ~= '' then                                   -- in quarantine: which item runs next, should this be the last word
  if redis.call('HGET', shard, 'item') ~= item then redis.call('HSET', shard, 'alone', 0) end
  redis.call('HSET', shard, 'item', item, 'progress', 0)   -- what others achieved is no excuse for this one
end
if redis.call('HGET', shard, 'state') == 'running' then
  redis.call('HSET', shard, 'lease', text(now + lease_ms))
  redis.call('ZADD', leases, text(now + lease_ms), id)
end
report(batch, log, channel, now, 'batch.progress', false)
return { 'OK', batch_state }
