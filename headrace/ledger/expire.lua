-- uses: clock events fence attempt terminal
local job, log, result_key, due, leases = unpack(KEYS)   -- hash, stream, string, two zsets id -> ms
local id, result, event, channel, keep_ms = unpack(ARGV)
local state, code, expires = unpack(redis.call('HMGET', job, 'state', 'code', 'expires'))
if not state then return { 'UNKNOWN' } end
if state == 'failed' and code == 'expired' then return { 'OK', 'repeated' } end
if TERMINAL[state] then return { 'FINISHED', state } end
local now = now_ms()
if state == 'running' then return { 'BUSY', '0' } end  -- its worker ends it: what had come is kept
if not expires or now < tonumber(expires) then return { 'BUSY', text(tonumber(expires or now) - now) } end
local epoch, seq = place_of_end(job, log, channel, now, 'expired')
end_job(job, id, log, channel, result_key, due, leases, epoch, seq, 'failed', 'expired', result, event, now,
  tonumber(keep_ms))
return { 'OK', 'first' }
