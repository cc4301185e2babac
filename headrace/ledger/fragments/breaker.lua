-- The circuit breaker of a deployment: a hash. `till`: when a call may try it again, in ms; without it the breaker is closed. Then
-- `f:<process>` is "count ms": how many calls of that process in a row have failed, and when the last of them did.
local KEEP_BREAKER_MS = 3600000

local function keep_breaker(breaker)
  redis.call('PEXPIRE', breaker, KEEP_BREAKER_MS)
end

-- How long nobody may call, in ms; 0 when one may try it, nil when the breaker is closed.
local function breaker_wait(breaker, now)
  local till = tonumber(redis.call('HGET', breaker, 'till') or nil)
  return till and math.max(0, till - now)
end

-- Open, or open again: nobody calls for `interval` ms. Every worker hears of it.
local function open_breaker(breaker, scope, interval, now, channel)
  redis.call('DEL', breaker)
  redis.call('HSET', breaker, 'till', text(now + interval), 'interval', text(interval))
  keep_breaker(breaker)
  redis.call('PUBLISH', channel, table.concat({ 'open', scope, text(interval) }, ' '))
  return { 'OK', 'open', text(interval) }
end
