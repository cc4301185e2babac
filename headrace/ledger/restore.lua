-- uses: clock events fence
local job, log, leases, jobs = unpack(KEYS)          -- hash, stream, zset id -> lease end ms, zset id -> created ms
local id, epoch, lease_ms, channel, first_seq, count = unpack(ARGV, 1, 6)   -- rest: 2 × count field, value of the record; then events
-- The server lost the record (a restart from an old copy): who still holds the attempt writes it again, with the same ids.
local stored, state = unpack(redis.call('HMGET', job, 'epoch', 'state'))
if epoch == '0' or stored and tonumber(stored) > tonumber(epoch) then return { 'FENCED', stored or '0' } end
if stored == epoch then return { 'OK', redis.call('HGET', job, 'seq') } end
-- Whoever held an older attempt came first, and has finished: what was told to callers stays.
if TERMINAL[state] then return { 'CLOSED', state } end
local fields_end = 6 + 2 * tonumber(count)
for i = 7, fields_end, 2 do redis.call('HSET', job, ARGV[i], ARGV[i + 1]) end
redis.call('DEL', log)
local seq = first_seq - 1
for i = fields_end + 1, #ARGV do
  seq = seq + 1
  put_event(log, channel, epoch .. '-' .. text(seq), ARGV[i])
end
local lease = text(now_ms() + lease_ms)
redis.call('HSET', job, 'state', 'running', 'epoch', epoch, 'seq', text(seq), 'lease', lease)
redis.call('ZADD', leases, lease, id)
redis.call('ZADD', jobs, redis.call('HGET', job, 'created') or text(now_ms()), id)
return { 'OK', text(seq) }
