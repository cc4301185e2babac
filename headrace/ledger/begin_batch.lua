-- uses: clock events fence progress
local batch, check, due, leases, open, log = unpack(KEYS)   -- hash, hash, two zsets id -> ms, zset id -> opened ms, stream
local id, epoch, channel = unpack(ARGV, 1, 3)        -- rest: field, value of the batch
local state, checked = unpack(redis.call('HMGET', batch, 'state', 'checked'))
if not state then return { 'UNKNOWN' } end
if checked == epoch then return { 'OK', 'repeated' } end
if state ~= 'validating' then return { 'CLOSED', state } end
local refused = refusal(check, epoch)
if refused then return refused end
local now = now_ms()
for i = 4, #ARGV, 2 do redis.call('HSET', batch, ARGV[i], ARGV[i + 1]) end
redis.call('HSET', batch, 'state', 'in_progress', 'checked', epoch, 'in_progress_at', text(now))
redis.call('DEL', check)
redis.call('ZREM', due, id .. '.check')
redis.call('ZREM', leases, id .. '.check')
redis.call('ZADD', open, text(now), id)
report(batch, log, channel, now, 'batch.state', true)
return { 'OK', 'first' }
