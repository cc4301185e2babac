-- uses: clock record
local due = unpack(KEYS)                             -- zset id -> time ms
local prefix, limit, first_wait_ms, longest_wait_ms, queues = unpack(ARGV)
-- Everything queued whose hint may be lost, and everything parked whose time has come. The wait doubles with each
-- hint, because a long queue is no loss: without that, a backlog would fill the broker with copies.
local now = now_ms()
local hints = { 'OK' }
for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', text(now), 'LIMIT', 0, limit)) do
  local batch_id = string.match(id, '^(batch_[^.]+)%.')
  local record = prefix .. (batch_id and ':shard:' or ':job:') .. id
  local why = not is_record_id(id) and 'no id' or damage_of(record, queues)
  local state, queue, sent, expires
  if not why then state, queue, sent, expires = unpack(redis.call('HMGET', record, 'state', 'queue', 'hints', 'expires')) end
  local paused = batch_id and not why and redis.pcall('HGET', prefix .. ':batch:' .. batch_id, 'state') == 'paused'
  if why then
    redis.call('ZADD', due, text(now + 60000), id)
    hints[#hints + 1] = ''                           -- no queue: the caller sets it aside, now or in a minute
    hints[#hints + 1] = id
  elseif state ~= 'queued' and state ~= 'parked' then
    redis.call('ZREM', due, id)
  elseif paused then
    redis.call('ZADD', due, text(now + 1000), id)
  elseif expires and now >= tonumber(expires) then
    redis.call('ZADD', due, text(now + 1000), id)      -- until `expire` has ended it
    hints[#hints + 1] = 'expired'
    hints[#hints + 1] = id
  else
    -- Suspects wait in the memory of their worker: should it die, their hints are gone, and copies cost it nothing.
    local longest = queue == 'quarantine' and math.min(longest_wait_ms, first_wait_ms) or tonumber(longest_wait_ms)
    local wait = math.min(first_wait_ms * 2 ^ tonumber(sent or 0), longest)
    redis.call('HSET', record, 'state', 'queued', 'hints', text(tonumber(sent or 0) + 1))
    redis.call('ZADD', due, text(math.min(now + wait, tonumber(expires or math.huge))), id)
    hints[#hints + 1] = queue
    hints[#hints + 1] = id
  end
end
return hints
