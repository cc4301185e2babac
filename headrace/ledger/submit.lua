-- uses: clock
local job, due, jobs, idem = unpack(KEYS)            -- hash, zset id -> time ms, zset id -> created ms, string "id sha"
local id, tenant, queue, body, sha, ttl_ms, timeout_ms, grace_ms, idempotent, idem_ms, retry_of = unpack(ARGV)
if redis.call('EXISTS', job) == 1 then return { 'OK', id } end
if idempotent == '1' then
  local known = redis.call('GET', idem)
  if known then
    local first, other = string.match(known, '^(%S+) (%S+)$')
    if other ~= sha then return { 'CONFLICT', first } end
    return { 'OK', first }
  end
  redis.call('SET', idem, id .. ' ' .. sha, 'PX', idem_ms)
end
local now = now_ms()
redis.call('HSET', job, 'kind', 'job', 'state', 'queued', 'tenant', tenant, 'queue', queue, 'home', queue, 'body', body,
  'ttl', ttl_ms, 'created', text(now), 'expires', text(now + timeout_ms), 'epoch', 0, 'n', 0, 'calls', 0, 'crashes', 0, 'hints', 1)
if retry_of ~= '' then redis.call('HSET', job, 'retry_of', retry_of) end
-- The due time is the outbox: should the caller die before its hint is published, `due` publishes it.
redis.call('ZADD', due, text(now + math.min(grace_ms, timeout_ms)), id)
redis.call('ZADD', jobs, text(now), id)
for _, old in ipairs(redis.call('ZRANGEBYSCORE', jobs, '-inf', text(now - 8 * 86400000), 'LIMIT', 0, 100)) do
  redis.call('ZREM', jobs, old)
end
return { 'OK', id }
