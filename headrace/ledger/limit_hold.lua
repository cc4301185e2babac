-- uses: clock limits
local limit, limits = unpack(KEYS)                   -- hash, hash scope -> its name for people
local scope, name, wait_ms, reason, process, channel = unpack(ARGV)
local now = now_us()
local till = math.max(amount(redis.call('HGET', limit, 'hold')) or 0, now + wait_ms * 1000)
redis.call('HSET', limit, 'hold', text(till), 'reason', reason)
redis.call('PEXPIRE', limit, text(KEEP_LIMIT_MS + wait_ms))
redis.call('HSET', limits, scope, name)
-- Heard by the workers that ask for no permit, and sooner than one that does asks for its next.
redis.call('PUBLISH', channel, table.concat({ 'hold', scope, text(wait_ms), process, reason }, ' '))
return { 'OK', text((till - now) / 1000) }
