-- uses: clock joined created events progress
-- hash, hash, string, stream, zset id -> created ms, zset id -> time ms, string "id digest",
-- hash id -> how its client waits (unread.py), string
local batch, check, template, log, batches, due, created, unread, lease = unpack(KEYS)
local id, prefix, body, template_ms, window_ms, queue, grace_ms, channel, digest, keyed, key_ms, gateway, again, unread_ms = unpack(ARGV, 1, 14)
-- rest: field, value of the batch
if redis.call('EXISTS', batch) == 1 then return { 'OK', id } end
local now = now_ms()
local before = created_before(created, unread, lease, prefix .. ':batch:', keyed, digest, id, gateway, again, now, unread_ms)
if before then return before end
redis.call('SET', template, body, 'PX', template_ms)
redis.call('HSET', batch, 'kind', 'batch', 'state', 'validating', 'epoch', text(now), 'created', text(now), 'seq', 0,
  'total', 0, 'shards', 0, 'fed', 0, 'done', 0, 'running', 0, 'succeeded', 0, 'failed', 0, 'cancelled', 0, 'dead', 0,
  'input_tokens', 0, 'output_tokens', 0, 'expires', text(now + window_ms))
for i = 15, #ARGV, 2 do redis.call('HSET', batch, ARGV[i], ARGV[i + 1]) end
-- The check of its input is a record that a worker claims, as a join is: should its worker die, another one begins anew.
redis.call('HSET', check, 'kind', 'check', 'state', 'queued', 'queue', queue, 'home', queue, 'epoch', 0, 'n', 0,
  'calls', '', 'crashes', 0, 'hints', 1)
redis.call('ZADD', due, text(now + grace_ms), id .. '.check')
redis.call('ZADD', batches, text(now), id)
remember(created, unread, keyed, digest, key_ms, id, gateway, now, unread_ms)
report(batch, log, channel, now, 'batch.state', true)
return { 'OK', id }
