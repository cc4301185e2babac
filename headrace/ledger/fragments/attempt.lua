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
