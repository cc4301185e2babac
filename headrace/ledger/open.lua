-- uses: clock joined created events progress
-- hash, zset id -> opened ms, string, stream, zset id -> opened ms, hash of the batch that it follows (or its own), string
-- "id digest", hash id -> how its client waits (unread.py), string, string: the last batch over the same input
local batch, open, template, log, batches, origin, created, unread, lease, work = unpack(KEYS)
local id, prefix, body, template_ms, window_ms, channel, digest, keyed, key_ms, gateway, again, unread_ms, named = unpack(ARGV, 1, 13)
-- rest: field, value of the batch
if redis.call('EXISTS', batch) == 1 then return { 'OK', id } end
local now = now_ms()
local before = created_before(created, unread, lease, prefix .. ':batch:', keyed, digest, id, gateway, again, now, unread_ms)
if before then return before end
if named == '2' then                                 -- whoever began the same at the same time was a moment earlier
  local known = redis.call('GET', work)
  local state = known and redis.call('HGET', prefix .. ':batch:' .. known, 'state')
  if state == 'in_progress' or state == 'paused' or state == 'finalizing' then return { 'OK', known } end
end
if origin ~= batch then                              -- the re-asks of a batch: one follow-up, whoever else has found what to ask
  local known = redis.call('HGET', origin, 'reasked_as')
  if known then return { 'FINISHED', known } end
  if redis.call('EXISTS', origin) == 0 then return { 'UNKNOWN' } end
  redis.call('HSET', origin, 'reasked_as', id)
end
redis.call('SET', template, body, 'PX', template_ms)
if named ~= '0' then redis.call('SET', work, id, 'PX', template_ms) end
redis.call('HSET', batch, 'kind', 'batch', 'state', 'in_progress', 'epoch', text(now), 'created', text(now), 'seq', 0,
  'fed', 0, 'done', 0, 'running', 0, 'succeeded', 0, 'failed', 0, 'cancelled', 0, 'dead', 0,
  'input_tokens', 0, 'output_tokens', 0, 'expires', text(now + window_ms))
for i = 14, #ARGV, 2 do redis.call('HSET', batch, ARGV[i], ARGV[i + 1]) end
redis.call('ZADD', open, text(now), id)
redis.call('ZADD', batches, text(now), id)
remember(created, unread, keyed, digest, key_ms, id, gateway, now, unread_ms)
report(batch, log, channel, now, 'batch.state', true)
return { 'OK', id }
