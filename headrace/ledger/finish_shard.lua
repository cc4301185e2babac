-- uses: clock events fence sealed progress bill
local shard, rows, batch, parts, held, leases, due, log = unpack(KEYS)   -- hash, hash, hash, hash number -> part, bytes held, two zsets, stream
local id, epoch, number, part, channel, bill = unpack(ARGV)
local winner = redis.call('HGET', parts, number)
if winner == part then return { 'OK', 'repeated' } end
if winner then return { 'FINISHED', winner } end
local refused = refusal(shard, epoch)
if refused then return refused end
local closed = sealed(batch)
if closed then return closed end
local missing = tonumber(redis.call('HGET', shard, 'count')) - redis.call('HLEN', rows)
if missing > 0 then return { 'GAP', text(missing) } end
settle(shard, bill)
give_up_reserve(shard)
redis.call('HSET', parts, number, part)
redis.call('DECRBY', held, redis.call('HGET', shard, 'bytes'))
if redis.call('HGET', shard, 'state') == 'running' then redis.call('HINCRBY', batch, 'running', -1) end
if redis.call('HGET', shard, 'queue') == 'quarantine' then redis.call('HINCRBY', batch, 'quarantined', -1) end
redis.call('HINCRBY', batch, 'done', 1)
redis.call('ZREM', leases, id)
redis.call('ZREM', due, id)
redis.call('DEL', shard, rows)
report(batch, log, channel, now_ms(), 'batch.progress', false)
return { 'OK', 'first' }
