-- A new attempt: the epoch is milliseconds of the server's clock, forced to grow, so it orders attempts and fences writers.
local function begin_attempt(job, log, channel, now, reason)
  local epoch = math.max(tonumber(redis.call('HGET', job, 'epoch') or 0) + 1, now)
  local n = redis.call('HINCRBY', job, 'n', 1)
  redis.call('HSET', job, 'epoch', text(epoch), 'seq', 1)
  local event = '{"t":"attempt.start","n":' .. n .. ',"reset":' .. tostring(n > 1) .. ',"reason":"' .. reason .. '"}'
  put_event(log, channel, text(epoch) .. '-1', event)
  redis.call('XTRIM', log, 'MINID', text(epoch) .. '-1')
  return epoch, n
end

-- A viewer that cannot take anything back has been sent a part of this attempt (show.lua): no other may follow it.
local function is_shown(job)
  local shown, epoch = unpack(redis.call('HMGET', job, 'shown', 'epoch'))
  return shown and shown == epoch and epoch ~= '0'
end

-- Where the end of a job is written that no worker holds: `epoch, seq`. What was shown stays in the log.
local function place_of_end(job, log, channel, now, reason)
  if is_shown(job) then
    return redis.call('HGET', job, 'epoch'), tonumber(redis.call('HGET', job, 'seq')) + 1
  end
  return begin_attempt(job, log, channel, now, reason), 2
end
