-- The one terminal transition of a job: last event, everything given an end of life. The body of one that did not
-- succeed is kept as long as its result, so that it can be tried again.
local function end_job(job, id, log, channel, result_key, due, leases, epoch, seq, state, code, result, event, now, keep)
  put_event(log, channel, text(epoch) .. '-' .. text(seq), event)
  redis.call('HSET', job, 'state', state, 'code', code, 'seq', text(seq), 'ended', text(now))
  local ttl = tonumber(redis.call('HGET', job, 'ttl') or 3600000)
  local body = state ~= 'succeeded' and redis.call('HGET', job, 'body')
  if body then redis.call('SET', job .. ':body', body, 'PX', text(ttl)) end
  redis.call('HDEL', job, 'body', 'lease', 'token', 'owner')
  redis.call('ZREM', due, id)
  redis.call('ZREM', leases, id)
  redis.call('SET', result_key, result, 'PX', text(ttl))
  redis.call('PEXPIRE', log, text(ttl))
  redis.call('PEXPIRE', job, text(math.max(ttl, keep)))
end
