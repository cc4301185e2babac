local record, expiring = unpack(KEYS)                -- hash, zset id -> expires ms
local id, prefix = unpack(ARGV)
local tenant, purpose, bytes = unpack(redis.call('HMGET', record, 'tenant', 'purpose', 'bytes'))
redis.call('ZREM', expiring, id)
if not tenant then return { 'UNKNOWN' } end
redis.call('ZREM', prefix .. ':files:' .. tenant, id)
if purpose ~= 'batch_output' then redis.call('DECRBY', prefix .. ':file_bytes:' .. tenant, tonumber(bytes or '') and bytes or 0) end
redis.call('DEL', record)
return { 'OK', 'first' }
