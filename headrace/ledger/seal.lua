-- uses: clock events progress
local batch, join, due, open, log = unpack(KEYS)     -- hash, hash, zset id -> time ms, zset id -> opened ms, stream
local id, queue, grace_ms, channel = unpack(ARGV)
local state, fed, done, shards, running, expires = unpack(
  redis.call('HMGET', batch, 'state', 'fed', 'done', 'shards', 'running', 'expires'))
if not state then return { 'UNKNOWN' } end
if state == 'finalizing' then return { 'OK', queue } end
if state ~= 'in_progress' and state ~= 'paused' and state ~= 'cancelling' then return { 'CLOSED', state } end
local now = now_ms()
local outcome = 'completed'
if state == 'cancelling' then
  outcome = redis.call('HGET', batch, 'outcome') or 'cancelled'
  -- Shards at work may still bring home what was paid: their next beat, or the end of their lease, lets them go.
  if tonumber(running) > 0 then return { 'BUSY', running } end
elseif tonumber(done) < tonumber(shards) then
  if state ~= 'paused' and now >= tonumber(expires) then   -- time paused does not count: `resume` adds it
    redis.call('HSET', batch, 'state', 'cancelling', 'outcome', 'expired', 'reason', 'its completion window is over')
    report(batch, log, channel, now, 'batch.state', true)
  end
  return { 'BUSY', text(tonumber(shards) - tonumber(done)) }
end
redis.call('HSET', batch, 'state', 'finalizing', 'outcome', outcome, 'finalizing_at', text(now))
redis.call('HSET', join, 'kind', 'join', 'state', 'queued', 'queue', queue, 'home', queue, 'epoch', 0, 'n', 0,
  'calls', '', 'crashes', 0, 'hints', 1)
redis.call('ZADD', due, text(now + grace_ms), id .. '.join')
redis.call('ZREM', open, id)
report(batch, log, channel, now, 'batch.state', true)
return { 'OK', queue }
