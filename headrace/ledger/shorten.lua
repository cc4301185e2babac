-- uses: fence
local job, log, body, result = unpack(KEYS)          -- hash, stream, two strings
local ttl_ms = unpack(ARGV)
local state = redis.call('HGET', job, 'state')
if not state then return { 'UNKNOWN' } end
if not TERMINAL[state] then
  redis.call('HSET', job, 'ttl', ttl_ms)
  return { 'OK' }
end
for _, key in ipairs({ log, body, result }) do
  if redis.call('PTTL', key) > tonumber(ttl_ms) then redis.call('PEXPIRE', key, ttl_ms) end
end
return { 'OK' }
