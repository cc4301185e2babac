local breaker, breakers = unpack(KEYS)               -- hash, hash scope -> its name for people
local scope, process, probe, channel = unpack(ARGV)
if redis.call('HEXISTS', breaker, 'till') == 0 then
  redis.call('HDEL', breaker, 'f:' .. process)       -- what failed before it is no longer in a row
  return { 'OK', 'closed', '0' }
end
-- An answer to a call from before it opened says nothing of now.
if probe == '' then return { 'OK', 'open', '0' } end
redis.call('DEL', breaker)
redis.call('HDEL', breakers, scope)
redis.call('PUBLISH', channel, 'closed ' .. scope)
return { 'OK', 'closed', '0' }
