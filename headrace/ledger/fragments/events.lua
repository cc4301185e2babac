-- An event is stored and published in the same call, with the same id: pub/sub is the fast copy, the stream the truth.
local function put_event(log, channel, id, event)
  redis.call('XADD', log, id, 'd', event)
  redis.call('PUBLISH', channel, id .. ' ' .. event)
end
