-- uses: clock joined created file
-- hash, number of bytes, string "id digest", hash id -> how its client waits (unread.py), string
local record, bytes_held, created, unread, lease = unpack(KEYS)
local id, tenant, prefix, purpose, filename, bytes, max_bytes, expires_s, digest, keyed, key_ms, gateway, again, unread_ms = unpack(ARGV)
if redis.call('EXISTS', record) == 1 then return { 'OK', id } end
local now = now_ms()
local before = created_before(created, unread, lease, prefix .. ':file:', keyed, digest, id, gateway, again, now, unread_ms)
if before then return before end
if tonumber(redis.call('GET', bytes_held) or 0) + bytes > tonumber(max_bytes) then return { 'SPILL' } end
redis.call('INCRBY', bytes_held, bytes)
add_file(prefix, tenant, id, now, expires_s, { 'purpose', purpose, 'filename', filename, 'bytes', bytes })
remember(created, unread, keyed, digest, key_ms, id, gateway, now, unread_ms)
return { 'OK', id }
