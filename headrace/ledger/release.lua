-- uses: clock fence bill
local record, due, leases, batch = unpack(KEYS)      -- hash, two zsets id -> ms, hash or unused
local id, epoch, calls, grace_ms, home, bill = unpack(ARGV)    -- home: out of quarantine, its suspects have survived
local state, stored, queue = unpack(redis.call('HMGET', record, 'state', 'epoch', 'queue'))
if state == 'queued' and stored == epoch and epoch ~= '0' then return { 'OK', queue } end
local refused = refusal(record, epoch)
if refused then return refused end
if not queue then return { 'DAMAGED', 'no queue' } end
settle(record, bill)
give_up_reserve(record)
if state == 'running' and redis.call('HGET', record, 'kind') == 'shard' then redis.call('HINCRBY', batch, 'running', -1) end
redis.call('HSET', record, 'state', 'queued', 'calls', calls, 'hints', 1, 'crashed', 0)
if home == '1' then
  queue = redis.call('HGET', record, 'home')
  if redis.call('HGET', record, 'queue') == 'quarantine' then redis.call('HINCRBY', batch, 'quarantined', -1) end
  redis.call('HSET', record, 'queue', queue, 'crashes', 0, 'losses', 0, 'evidence', 0, 'alone', 0, 'item', '')
end
redis.call('HDEL', record, 'lease', 'token', 'owner')
redis.call('ZREM', leases, id)
redis.call('ZADD', due, text(now_ms() + grace_ms), id)
return { 'OK', queue }
