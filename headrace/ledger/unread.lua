-- uses: clock
local unread = unpack(KEYS)                          -- hash id -> how its client waits (unread.py)
local id, token, word = unpack(ARGV)
local how, gateway, holder = string.match(redis.call('HGET', unread, id) or '', '^(%S+) (%S+) (%S+)')
if holder ~= token then return { 'OK' } end          -- read, or somebody else's by now
if word == 'read' then
  redis.call('HDEL', unread, id)
else
  redis.call('HSET', unread, id, word .. ' ' .. gateway .. ' ' .. token .. ' ' .. text(now_ms()))
end
return { 'OK' }
