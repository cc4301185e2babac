-- uses: clock joined
-- hash, zset id -> time ms, zset id -> created ms, string "id sha", hash id -> how its client waits (unread.py), string
local job, due, jobs, idem, unread, lease = unpack(KEYS)
local id, tenant, queue, body, sha, ttl_ms, timeout_ms, grace_ms, idempotent, idem_ms, retry_of, gateway, again, unread_ms, trace = unpack(ARGV)

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
if gateway ~= '' then
  local records, gateways = string.sub(job, 1, #job - #id), string.sub(lease, 1, #lease - #gateway)
  local known, wait = take_unread(unread, records, gateways, id, gateway, again == '1', now, tonumber(unread_ms))
  if known then
    hold_unread(unread, known, gateway, id, now)
    return { 'OK', known }
  end
  if wait then return { 'BUSY', text(wait) } end
end
redis.call('HSET', job, 'kind', 'job', 'state', 'queued', 'tenant', tenant, 'queue', queue, 'home', queue, 'body', body,
  'ttl', ttl_ms, 'created', text(now), 'expires', text(now + timeout_ms), 'epoch', 0, 'n', 0, 'calls', 0, 'crashes', 0, 'hints', 1)
if retry_of ~= '' then redis.call('HSET', job, 'retry_of', retry_of) end
if trace ~= '' then redis.call('HSET', job, 'trace', trace) end
-- The due time is the outbox: should the caller die before its hint is published, `due` publishes it.
redis.call('ZADD', due, text(now + math.min(grace_ms, timeout_ms)), id)
redis.call('ZADD', jobs, text(now), id)
if gateway ~= '' and redis.call('HLEN', unread) < 1000 then
  hold_unread(unread, id, gateway, id, now)
  redis.call('PEXPIRE', unread, text(timeout_ms + unread_ms))
end
for _, old in ipairs(redis.call('ZRANGEBYSCORE', jobs, '-inf', text(now - 8 * 86400000), 'LIMIT', 0, 100)) do
  redis.call('ZREM', jobs, old)
end
return { 'OK', id }
