-- uses: clock
local workers = unpack(KEYS)                         -- hash process -> "until ms announcement"
local process, announcement, life_ms = unpack(ARGV)  -- an empty announcement: the process ends
local now = now_ms()
-- Whoever announces clears away what has run out: a worker that died, or one from before this form.
local stored = redis.call('HGETALL', workers)
for i = 1, #stored, 2 do
  if tonumber(string.match(stored[i + 1], '^(%d+) ') or 0) < now then redis.call('HDEL', workers, stored[i]) end
end
if announcement == '' then
  redis.call('HDEL', workers, process)
else
  redis.call('HSET', workers, process, text(now + life_ms) .. ' ' .. announcement)
  redis.call('PEXPIRE', workers, life_ms)
end
return { 'OK' }
