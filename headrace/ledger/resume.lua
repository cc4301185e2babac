-- uses: clock events progress
local batch, log = unpack(KEYS)                      -- hash, stream
local channel = unpack(ARGV)
local state = redis.call('HGET', batch, 'state')
if not state then return { 'UNKNOWN' } end
if state == 'in_progress' then return { 'OK', 'repeated' } end
if state ~= 'paused' then return { 'CLOSED', state } end
redis.call('HSET', batch, 'state', 'in_progress', 'reason', '')
report(batch, log, channel, now_ms(), 'batch.state', true)
return { 'OK', 'first' }
