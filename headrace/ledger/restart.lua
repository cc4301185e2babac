-- uses: clock events attempt fence
local job, log = unpack(KEYS)                        -- hash, stream
local epoch, token, reason, channel = unpack(ARGV)   -- token makes the call repeatable
if redis.call('HGET', job, 'restarted') == token then return { 'OK', redis.call('HGET', job, 'epoch') } end
local refused = refusal(job, epoch)
if refused then return refused end
local fresh = begin_attempt(job, log, channel, now_ms(), reason)
redis.call('HSET', job, 'restarted', token)
return { 'OK', text(fresh) }
