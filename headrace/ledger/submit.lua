-- uses: clock
-- hash, zset id -> time ms, zset id -> created ms, string "id sha", hash id -> how its client waits (unread.py)
local job, due, jobs, idem, unread = unpack(KEYS)
local id, tenant, queue, body, sha, ttl_ms, timeout_ms, grace_ms, idempotent, idem_ms, retry_of, gateway, again, unread_ms = unpack(ARGV)

-- A job whose answer has not reached whoever asked the same: one whose client has left; else one that another gateway holds; else
-- one whose client has left right after it; else one held here, for who stands between may hide that a client has left. Of equals
-- the one that was touched longest ago: so many who ask the same are each given another.
local function take_unread(now)
  local best, best_rank, best_since, entries = nil, nil, nil, redis.call('HGETALL', unread)
  for at = 1, #entries, 2 do
    local known, how, holder, token, since = entries[at], string.match(entries[at + 1], '^(%S+) (%S+) (%S+) (%d+)$')
    if token == id then return known end             -- this call, sent twice
    local record = string.sub(job, 1, #job - #id) .. known
    local state, ended = unpack(redis.call('HMGET', record, 'state', 'ended'))
    if not state or ended and ((tonumber(ended) or 0) + unread_ms < now or redis.call('EXISTS', record .. ':result') == 0) then
      redis.call('HDEL', unread, known)
    else
      local rank = how == 'left' and 0 or how == 'held' and holder ~= gateway and 1 or how == 'sent' and 2 or 3
      since = tonumber(since) or 0
      if not best or rank < best_rank or rank == best_rank and since < best_since then
        best, best_rank, best_since = known, rank, since
      end
    end
  end
  return best
end

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
if again == '1' then
  local known = take_unread(now)
  if known then
    redis.call('HSET', unread, known, 'held ' .. gateway .. ' ' .. id .. ' ' .. text(now))
    return { 'OK', known }
  end
end
redis.call('HSET', job, 'kind', 'job', 'state', 'queued', 'tenant', tenant, 'queue', queue, 'home', queue, 'body', body,
  'ttl', ttl_ms, 'created', text(now), 'expires', text(now + timeout_ms), 'epoch', 0, 'n', 0, 'calls', 0, 'crashes', 0, 'hints', 1)
if retry_of ~= '' then redis.call('HSET', job, 'retry_of', retry_of) end
-- The due time is the outbox: should the caller die before its hint is published, `due` publishes it.
redis.call('ZADD', due, text(now + math.min(grace_ms, timeout_ms)), id)
redis.call('ZADD', jobs, text(now), id)
if gateway ~= '' and redis.call('HLEN', unread) < 1000 then
  redis.call('HSET', unread, id, 'held ' .. gateway .. ' ' .. id .. ' ' .. text(now))
  redis.call('PEXPIRE', unread, text(timeout_ms + unread_ms))
end
for _, old in ipairs(redis.call('ZRANGEBYSCORE', jobs, '-inf', text(now - 8 * 86400000), 'LIMIT', 0, 100)) do
  redis.call('ZREM', jobs, old)
end
return { 'OK', id }
