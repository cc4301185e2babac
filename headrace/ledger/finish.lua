-- uses: clock events fence terminal
local job, log, result_key, due, leases, spend = unpack(KEYS)   -- hash, stream, string, two zsets id -> ms, hash counter -> integer
local id, epoch, state, code, result, seq, event, channel, keep_ms = unpack(ARGV, 1, 9)   -- rest: counter, integer …
local stored_state, stored = unpack(redis.call('HMGET', job, 'state', 'epoch'))
if stored == epoch and stored_state == state then return { 'OK', 'repeated' } end
local refused = refusal(job, epoch)
if refused then return refused end
local last = tonumber(redis.call('HGET', job, 'seq'))
if tonumber(seq) ~= last + 1 then return { 'GAP', text(last + 1) } end
end_job(job, id, log, channel, result_key, due, leases, tonumber(epoch), tonumber(seq), state, code, result, event,
  now_ms(), tonumber(keep_ms))
for i = 10, #ARGV, 2 do redis.call('HINCRBY', spend, ARGV[i], ARGV[i + 1]) end
return { 'OK', 'first' }
