-- uses: clock created file
local record, bytes_held, created = unpack(KEYS)     -- hash, number of bytes, string "id digest"
local id, tenant, prefix, purpose, filename, bytes, max_bytes, expires_s, digest, join, created_ms = unpack(ARGV)
if redis.call('EXISTS', record) == 1 then return { 'OK', id } end
local before = created_before(created, digest, join, prefix .. ':file:')
if before then return before end
if tonumber(redis.call('GET', bytes_held) or 0) + bytes > tonumber(max_bytes) then return { 'SPILL' } end
redis.call('INCRBY', bytes_held, bytes)
add_file(prefix, tenant, id, now_ms(), expires_s, { 'purpose', purpose, 'filename', filename, 'bytes', bytes })
redis.call('SET', created, id .. ' ' .. digest, 'PX', created_ms)
return { 'OK', id }
