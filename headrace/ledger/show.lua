-- uses: fence
local job = unpack(KEYS)                             -- hash
local epoch = unpack(ARGV)
local state, stored = unpack(redis.call('HMGET', job, 'state', 'epoch'))
if not state then return { 'UNKNOWN' } end
if stored ~= epoch then return { 'FENCED', stored or '0' } end
if not TERMINAL[state] then redis.call('HSET', job, 'shown', epoch) end
return { 'OK' }
