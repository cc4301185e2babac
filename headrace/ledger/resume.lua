-- uses: clock events progress
local batch, log = unpack(KEYS)                      -- hash, stream
local channel = unpack(ARGV)
local state = redis.call('HGET', batch, 'state')
if not state then return { 'UNKNOWN' } end
if state == 'in_progress' then return { 'OK', 'repeated' } end
if state ~= 'paused' then return { 'CLOSED', state } end
local now = now_ms()
local since = redis.call('HGET', batch, 'paused')
if since then redis.call('HINCRBY', batch, 'expires', text(now - since)) end
redis.call('HSET', batch, 'state', 'in_progress', 'reason', '')
redis.call('HDEL', batch, 'paused', 'paused_by', 'failing', 'streak')
report(batch, log, channel, now, 'batch.state', true)
return { 'OK', 'first' }
