-- uses: clock events attempt fence terminal
local leases, due = unpack(KEYS)                     -- two zsets id -> ms
local prefix, limit, grace_ms, crashes_allowed, losses_allowed, quarantine, result, event, keep_ms = unpack(ARGV)
-- A lease that ran out is a crash. Twice in a row: into quarantine, where it runs alone. Twice alone: dead.
-- A shard that checkpointed since its claim was making way, so its crash is not held against it until it has happened
-- four times; in quarantine it is the item that ran which is suspected, and the worker that claims next writes its row.
local now = now_ms()
local hints = { 'OK' }
for _, id in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', text(now), 'LIMIT', 0, limit)) do
  local batch_id = string.match(id, '^(batch_[^.]+)%.')
  local record = prefix .. (batch_id and ':shard:' or ':job:') .. id
  local state, kind, queue, progress = unpack(redis.call('HMGET', record, 'state', 'kind', 'queue', 'progress'))
  redis.call('ZREM', leases, id)
  if state == 'running' then
    if kind == 'shard' then redis.call('HINCRBY', prefix .. ':batch:' .. batch_id, 'running', -1) end
    local crashes = 0
    if progress ~= '1' then crashes = redis.call('HINCRBY', record, 'crashes', 1) end
    local losses = redis.call('HINCRBY', record, 'losses', 1)
    redis.call('HSET', record, 'crashed', 1)
    local channel = prefix .. ':job:' .. id .. ':ch'
    local log = prefix .. ':job:' .. id .. ':log'
    local result_key = prefix .. ':job:' .. id .. ':result'
    if kind == 'job' and redis.call('HEXISTS', record, 'cancel') == 1 then
      local seq = tonumber(redis.call('HGET', record, 'seq')) + 1
      end_job(record, id, log, channel, result_key, due, leases, tonumber(redis.call('HGET', record, 'epoch')), seq,
        'cancelled', 'cancelled', '{"code":"cancelled","message":"cancelled; its worker was lost"}',
        '{"t":"end","status":"cancelled"}', now, tonumber(keep_ms))
    elseif kind == 'job' and queue == quarantine and crashes >= tonumber(crashes_allowed) then
      local seq = tonumber(redis.call('HGET', record, 'seq')) + 1
      end_job(record, id, log, channel, result_key, due, leases, tonumber(redis.call('HGET', record, 'epoch')), seq, 'dead',
        'worker_lost', result, event, now, tonumber(keep_ms))
    else
      local suspect = crashes >= tonumber(crashes_allowed) or losses >= tonumber(losses_allowed)
      if queue ~= quarantine and kind ~= 'join' and suspect then
        queue = quarantine
        redis.call('HSET', record, 'queue', queue, 'crashes', 0, 'losses', 0)
      end
      redis.call('HSET', record, 'state', 'queued', 'hints', 1)
      redis.call('HDEL', record, 'lease', 'token', 'owner')
      redis.call('ZADD', due, text(now + grace_ms), id)
      hints[#hints + 1] = queue
      hints[#hints + 1] = id
    end
  end
end
return hints
