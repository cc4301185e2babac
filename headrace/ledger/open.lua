-- uses: clock created events progress
-- hash, zset id -> opened ms, string, stream, zset id -> opened ms, hash of the batch that it follows (or its own), string "id digest"
local batch, open, template, log, batches, origin, created = unpack(KEYS)
local id, body, template_ms, window_ms, channel, prefix, digest, join, created_ms = unpack(ARGV, 1, 9)
-- rest: field, value of the batch
if redis.call('EXISTS', batch) == 1 then return { 'OK', id } end
local before = digest ~= '' and created_before(created, digest, join, prefix .. ':batch:')
if before then return before end
if origin ~= batch then                              -- the re-asks of a batch: one follow-up, whoever else has found what to ask
  local known = redis.call('HGET', origin, 'reasked_as')
  if known then return { 'FINISHED', known } end
  if redis.call('EXISTS', origin) == 0 then return { 'UNKNOWN' } end
  redis.call('HSET', origin, 'reasked_as', id)
end
local now = now_ms()
redis.call('SET', template, body, 'PX', template_ms)
redis.call('HSET', batch, 'kind', 'batch', 'state', 'in_progress', 'epoch', text(now), 'created', text(now), 'seq', 0,
  'fed', 0, 'done', 0, 'running', 0, 'succeeded', 0, 'failed', 0, 'cancelled', 0, 'dead', 0,
  'input_tokens', 0, 'output_tokens', 0, 'expires', text(now + window_ms))
for i = 10, #ARGV, 2 do redis.call('HSET', batch, ARGV[i], ARGV[i + 1]) end
redis.call('ZADD', open, text(now), id)
redis.call('ZADD', batches, text(now), id)
if digest ~= '' then redis.call('SET', created, id .. ' ' .. digest, 'PX', created_ms) end
report(batch, log, channel, now, 'batch.state', true)
return { 'OK', id }
