-- The one terminal transition of a job: last event, body dropped, everything given an end of life.
local function end_job(job, id, log, channel, result_key, due, leases, epoch, seq, state, code, result, event, now, keep)
  put_event(log, channel, text(epoch) .. '-' .. text(seq), event)
  redis.call('HSET', job, 'state', state, 'code', code, 'seq', text(seq), 'ended', text(now))
  redis.call('HDEL', job, 'body', 'lease', 'token', 'owner')
  redis.call('ZREM', due, id)
  redis.call('ZREM', leases, id)
  local ttl = tonumber(redis.call('HGET', job, 'ttl') or 3600000)
  redis.call('SET', result_key, result, 'PX', text(ttl))
  redis.call('PEXPIRE', log, text(ttl))
  redis.call('PEXPIRE', job, text(math.max(ttl, keep)))
end
