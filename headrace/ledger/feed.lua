-- uses: clock
local batch, due = unpack(KEYS)                      -- hash, zset id -> time ms
local id, cursor, prefix, queue, grace_ms = unpack(ARGV, 1, 5)   -- rest: line, count, offset, length of every shard from number `cursor` on
local state, fed = unpack(redis.call('HMGET', batch, 'state', 'fed'))
if not state then return { 'UNKNOWN' } end
if state == 'paused' then return { 'PAUSED' } end
if state ~= 'in_progress' then return { 'CLOSED', state } end
if fed ~= cursor then return { 'GAP', fed } end       -- another leader, or this one's lost reply, was here already
local now = now_ms()
local number = tonumber(cursor)
for i = 6, #ARGV, 4 do
  local shard_id = id .. '.s' .. text(number)
  redis.call('HSET', prefix .. ':shard:' .. shard_id, 'kind', 'shard', 'state', 'queued', 'queue', queue, 'home', queue,
    'line', ARGV[i], 'count', ARGV[i + 1], 'offset', ARGV[i + 2], 'length', ARGV[i + 3],
    'epoch', 0, 'n', 0, 'calls', '', 'crashes', 0, 'hints', 1, 'bytes', 0)
  redis.call('ZADD', due, text(now + grace_ms), shard_id)
  number = number + 1
end
redis.call('HSET', batch, 'fed', text(number))
return { 'OK', text(number) }
