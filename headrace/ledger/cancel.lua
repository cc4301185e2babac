-- uses: clock events fence attempt terminal progress
local record, log, result_key, due, leases = unpack(KEYS)   -- hash of a job or of a batch, stream, string, two zsets id -> ms
local id, reason, result, event, channel, keep_ms = unpack(ARGV)
local state, kind = unpack(redis.call('HMGET', record, 'state', 'kind'))
if not state then return { 'UNKNOWN' } end
local now = now_ms()
if kind == 'batch' then
  if state == 'validating' then                      -- nothing has run: there is nothing to be sealed and joined
    local check = string.gsub(record, ':batch:', ':shard:') .. '.check'
    redis.call('HSET', record, 'state', 'cancelled', 'reason', reason, 'outcome', 'cancelled', 'cancelling_at', text(now),
      'ended', text(now))
    redis.call('DEL', check)
    redis.call('ZREM', due, id .. '.check')
    redis.call('ZREM', leases, id .. '.check')
    report(record, log, channel, now, 'end', true)
    redis.call('PEXPIRE', record, 604800000)
    redis.call('PEXPIRE', log, 604800000)
    return { 'OK', 'cancelled' }
  end
  if state == 'in_progress' or state == 'paused' then
    redis.call('HSET', record, 'state', 'cancelling', 'reason', reason, 'outcome', 'cancelled', 'cancelling_at', text(now))
    report(record, log, channel, now, 'batch.state', true)
    return { 'OK', 'cancelling' }
  end
  if state == 'cancelling' or state == 'cancelled' or redis.call('HGET', record, 'outcome') == 'cancelled' then
    return { 'OK', state }
  end
  return { 'FINISHED', state }
end
if state == 'cancelled' then return { 'OK', state } end
if TERMINAL[state] then return { 'FINISHED', state } end
if state == 'running' then                           -- its worker learns of it at the next beat, half a second at most
  redis.call('HSET', record, 'cancel', reason)
  return { 'OK', 'running' }
end
local epoch, seq = place_of_end(record, log, channel, now, 'cancelled')
end_job(record, id, log, channel, result_key, due, leases, epoch, seq, 'cancelled', 'cancelled', result, event, now,
  tonumber(keep_ms))
return { 'OK', 'cancelled' }
