-- A batch stands still for a reason. Since when is kept: time paused does not count for its window.
local function pause_batch(batch, log, channel, now, reason)
  redis.call('HSET', batch, 'state', 'paused', 'reason', reason, 'paused', text(now))
  redis.call('HDEL', batch, 'paused_by')
  report(batch, log, channel, now, 'batch.state', true)
end
