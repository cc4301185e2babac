-- An event is stored and published in the same call, with the same id: pub/sub is the fast copy, the stream the truth.
-- Of a large one only the id is published, a doorbell: whoever watches reads it from the stream.
local function put_event(log, channel, id, event)
  redis.call('XADD', log, id, 'd', event)
  redis.call('PUBLISH', channel, #event > 65536 and id or id .. ' ' .. event)
end
