-- uses: clock events progress paused
local batch, log = unpack(KEYS)                      -- hash, stream
local reason, channel = unpack(ARGV)
local state = redis.call('HGET', batch, 'state')
if not state then return { 'UNKNOWN' } end
if state == 'paused' then return { 'OK', 'repeated' } end
if state ~= 'in_progress' then return { 'CLOSED', state } end
pause_batch(batch, log, channel, now_ms(), reason)
return { 'OK', 'first' }
