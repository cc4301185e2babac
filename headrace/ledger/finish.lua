-- uses: clock events fence terminal bill
local job, log, result_key, due, leases, spend = unpack(KEYS)   -- hash, stream, string, two zsets id -> ms, hash counter -> integer
local id, epoch, state, code, result, seq, event, count, channel, keep_ms, bill = unpack(ARGV, 1, 11)   -- rest: `count` events that come before, counter, integer …
local stored_state, stored = unpack(redis.call('HMGET', job, 'state', 'epoch'))
if stored == epoch and stored_state == state then return { 'OK', 'repeated' } end
local refused = refusal(job, epoch)
if refused then return refused end
local last = tonumber(redis.call('HGET', job, 'seq'))
for i = 1, count do
  local number = seq - count + i - 1
  if number == last + 1 then                         -- what is stored already was sent twice: skip it
    put_event(log, channel, epoch .. '-' .. text(number), ARGV[11 + i])
    last = number
    redis.call('HSET', job, 'seq', text(last))
  end
end
if tonumber(seq) ~= last + 1 then return { 'GAP', text(last + 1) } end
end_job(job, id, log, channel, result_key, due, leases, tonumber(epoch), tonumber(seq), state, code, result, event,
  now_ms(), tonumber(keep_ms))
settle(job, bill)
give_up_reserve(job)
if #ARGV > 11 + count then
  local day = spend .. ':' .. today()
  for i = 12 + count, #ARGV, 2 do
    redis.call('HINCRBY', spend, ARGV[i], ARGV[i + 1])
    redis.call('HINCRBY', day, ARGV[i], ARGV[i + 1])
  end
  redis.call('PEXPIRE', day, text(KEEP_DAY_MS))
end
return { 'OK', 'first' }
