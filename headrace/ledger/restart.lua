-- uses: clock events attempt fence
local job, log = unpack(KEYS)                        -- hash, stream
local epoch, token, reason, channel = unpack(ARGV)   -- token makes the call repeatable
local restarted, stored = unpack(redis.call('HMGET', job, 'restarted', 'epoch'))
-- Repeated. The epoch is part of it: after another worker's claim the same token must not get that worker's fence.
if stored and restarted == token .. ' ' .. stored then return { 'OK', stored } end
local refused = refusal(job, epoch)
if refused then return refused end
if is_shown(job) then return { 'SHOWN' } end
local fresh = begin_attempt(job, log, channel, now_ms(), reason)
redis.call('HSET', job, 'restarted', token .. ' ' .. text(fresh))
return { 'OK', text(fresh) }
