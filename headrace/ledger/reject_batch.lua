-- uses: clock events fence progress
local batch, check, due, leases, log = unpack(KEYS)  -- hash, hash, two zsets id -> ms, stream
local id, epoch, rejection, reason, keep_ms, channel = unpack(ARGV)
local state, checked = unpack(redis.call('HMGET', batch, 'state', 'checked'))
if not state then return { 'UNKNOWN' } end
if checked == epoch then return { 'OK', 'repeated' } end
if state ~= 'validating' then return { 'CLOSED', state } end
local refused = refusal(check, epoch)
if refused then return refused end
local now = now_ms()
redis.call('HSET', batch, 'state', 'failed', 'checked', epoch, 'rejection', rejection, 'reason', reason, 'ended', text(now))
redis.call('DEL', check)
redis.call('ZREM', due, id .. '.check')
redis.call('ZREM', leases, id .. '.check')
report(batch, log, channel, now, 'end', true)
redis.call('PEXPIRE', batch, keep_ms)
redis.call('PEXPIRE', log, keep_ms)
return { 'OK', 'first' }
