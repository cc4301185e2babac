-- uses: clock events fence progress bill
local record, due, leases, batch, log = unpack(KEYS)   -- hash, two zsets id -> ms, hash or unused, its stream
local id, epoch, delay_ms, calls, reason, channel, bill = unpack(ARGV)   -- calls: paid so far, so that the budget survives the wait
local state = redis.call('HGET', record, 'state')
if state == 'parked' and redis.call('HGET', record, 'epoch') == epoch then return { 'OK' } end
local refused = refusal(record, epoch)
if refused then return refused end
local now = now_ms()
settle(record, bill)
give_up_reserve(record)
local kind = redis.call('HGET', record, 'kind')
if state == 'running' and kind == 'shard' then redis.call('HINCRBY', batch, 'running', -1) end
if kind == 'shard' and redis.call('HGET', batch, 'waiting') ~= reason and redis.call('EXISTS', batch) == 1 then
  redis.call('HSET', batch, 'waiting', reason)         -- until an item succeeds
  report(batch, log, channel, now, 'batch.progress', true)
end
redis.call('HSET', record, 'state', 'parked', 'calls', calls, 'reason', reason, 'hints', 0)
if kind == 'job' then
  -- A job that comes out of quarantine alive goes home, its crashes counted from zero. A shard's other items are not proven.
  redis.call('HSET', record, 'crashes', 0, 'losses', 0, 'crashed', 0, 'evidence', 0, 'alone', 0, 'queue', redis.call('HGET', record, 'home'))
end
redis.call('HDEL', record, 'lease', 'token', 'owner')
redis.call('ZREM', leases, id)
-- Cancelled while it ran: no need to wait for the answer to that.
if redis.call('HEXISTS', record, 'cancel') == 1 then delay_ms = 0 end
local expires = redis.call('HGET', record, 'expires')
redis.call('ZADD', due, text(math.min(now + delay_ms, tonumber(expires or math.huge))), id)
return { 'OK' }
