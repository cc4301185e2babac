-- uses: clock events fence progress file bill
-- hash, hash, two zsets id -> ms, stream, hash number -> part, bytes held, string of bits, hash line -> why
local batch, join, leases, due, log, parts, held, refusals, reasons = unpack(KEYS)
local id, epoch, output, errors, unfinished, prefix, keep_ms, channel, output_file, output_bytes, error_file, error_bytes, kept = unpack(ARGV, 1, 13)
-- rest: `kept` counters with their numbers, of rows that an earlier batch paid for; shard ids left behind
local first_shard = 14 + 2 * tonumber(kept)
local state, outcome = unpack(redis.call('HMGET', batch, 'state', 'outcome'))
if not state then return { 'UNKNOWN' } end
if state == outcome then
  if redis.call('HGET', batch, 'output') == output then return { 'OK', 'repeated' } end
  return { 'FINISHED', redis.call('HGET', batch, 'output') }
end
local refused = refusal(join, epoch)
if refused then return refused end
for i = first_shard, #ARGV do
  local shard = prefix .. ':shard:' .. ARGV[i]
  -- Of one that is damaged (no hash, no number) nobody knows how much it held.
  local bytes = tonumber(redis.pcall('HGET', shard, 'bytes') or 0)
  redis.call('DECRBY', held, text(bytes or 0))
  if redis.call('TYPE', shard).ok == 'hash' then give_up_reserve(shard) end
  redis.call('DEL', shard, shard .. ':res')
  redis.call('ZREM', due, ARGV[i])
  redis.call('ZREM', leases, ARGV[i])
end
local now = now_ms()
redis.call('HINCRBY', batch, 'cancelled', unfinished)
for i = 14, first_shard - 1, 2 do redis.call('HINCRBY', batch, ARGV[i], ARGV[i + 1]) end
redis.call('HDEL', batch, 'waiting')
redis.call('HSET', batch, 'state', outcome, 'output', output, 'errors', errors, 'ended', text(now))
-- Files that callers fetch by their ids: entered with the end, so that nobody sees those of a join that was too late.
local tenant, expires_s = unpack(redis.call('HMGET', batch, 'tenant', 'output_expires_s'))
for _, made in ipairs({ { 'output_file', output_file, output_bytes, '_output.jsonl' }, { 'error_file', error_file, error_bytes, '_error.jsonl' } }) do
  if made[2] ~= '' then
    add_file(prefix, tenant, made[2], now, expires_s, { 'purpose', 'batch_output', 'filename', id .. made[4], 'bytes', made[3] })
    redis.call('HSET', batch, made[1], made[2])
  end
end
redis.call('DEL', join)
redis.call('ZREM', leases, id .. '.join')
redis.call('ZREM', due, id .. '.join')
report(batch, log, channel, now, 'end', true)
for _, key in ipairs({ batch, log, parts, refusals, reasons }) do redis.call('PEXPIRE', key, keep_ms) end
return { 'OK', 'first' }
