-- uses: clock breaker
local breaker = unpack(KEYS)                         -- hash
local token = unpack(ARGV)
local now = now_ms()
local wait = breaker_wait(breaker, now)
if not wait then return { 'OK', 'closed', '0' } end
if redis.call('HGET', breaker, 'probe') == token then return { 'OK', 'probe', '0' } end
if wait > 0 then return { 'OK', 'open', text(wait) } end
-- Whatever becomes of it, the next one goes out an interval later.
local interval = tonumber(redis.call('HGET', breaker, 'interval') or nil) or 1000
redis.call('HSET', breaker, 'probe', token, 'till', text(now + interval))
keep_breaker(breaker)
return { 'OK', 'probe', text(interval) }
