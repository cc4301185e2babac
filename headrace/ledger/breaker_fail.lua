-- uses: clock breaker
local breaker, breakers = unpack(KEYS)               -- hash, hash scope -> its name for people
local scope, name, process, failures, probe, most_failures, window_ms, interval_ms, max_interval_ms, channel = unpack(ARGV)
local now = now_ms()
local wait = breaker_wait(breaker, now)
if wait then
  -- Only the probe's failure says anything new: any other call was under way before. Sent twice it finds another probe, or none.
  if probe == '' or redis.call('HGET', breaker, 'probe') ~= probe then return { 'OK', 'open', text(wait) } end
  local interval = math.min(2 * (tonumber(redis.call('HGET', breaker, 'interval') or nil) or interval_ms), tonumber(max_interval_ms))
  return open_breaker(breaker, scope, interval, now, channel)
end
redis.call('HSET', breaker, 'f:' .. process, failures .. ' ' .. text(now))
keep_breaker(breaker)
local stored, count = redis.call('HGETALL', breaker), 0
for i = 1, #stored, 2 do
  local failed, at = string.match(stored[i + 1], '^(%d+) (%d+)$')
  if string.sub(stored[i], 1, 2) == 'f:' and failed then
    if tonumber(at) < now - window_ms then redis.call('HDEL', breaker, stored[i]) else count = count + tonumber(failed) end
  end
end
if count < tonumber(most_failures) then return { 'OK', 'closed', '0' } end
redis.call('HSET', breakers, scope, name)
return open_breaker(breaker, scope, tonumber(interval_ms), now, channel)
