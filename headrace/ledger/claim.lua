-- uses: clock events attempt fence terminal bill
local record, due, leases, log, batch, parts = unpack(KEYS)   -- hash, two zsets id -> ms, stream, hash or unused, hash n -> part
-- number: of a shard; '' for a job and for a join. The rest: how a job ends of which a part was shown
local id, token, owner, queue, lease_ms, channel, number, result, event, keep_ms = unpack(ARGV)
local now = now_ms()
local state, stored_token, record_queue, lease, kind = unpack(
  redis.call('HMGET', record, 'state', 'token', 'queue', 'lease', 'kind'))
if not state then
  if number ~= '' and redis.call('HEXISTS', parts, number) == 1 then return { 'FINISHED', 'succeeded' } end
  return { 'UNKNOWN' }
end
if state == 'cancelled' then return { 'CANCELLED' } end
if state == 'dead' then return { 'DEAD' } end
if TERMINAL[state] then return { 'FINISHED', state } end
if state == 'running' then
  if stored_token ~= token then
    -- Also when the lease has run out: `recover` has to count the crash before anyone begins anew.
    return { 'BUSY', text(math.max(tonumber(lease) - now, 0)) }
  end
else
  if state == 'parked' or record_queue ~= queue then return { 'BUSY', '0' } end
  if kind == 'job' and is_shown(record) then
    local epoch, seq = place_of_end(record, log, channel, now, 'claim')
    local cancelled = redis.call('HEXISTS', record, 'cancel') == 1
    local ending = cancelled and { 'cancelled', 'cancelled', '{"code":"cancelled","message":"cancelled; its worker was lost"}',
      '{"t":"end","status":"cancelled"}' } or { 'failed', 'incomplete_stream', result, event }
    end_job(record, id, log, channel, record .. ':result', due, leases, epoch, seq, ending[1], ending[2], ending[3],
      ending[4], now, tonumber(keep_ms))
    return cancelled and { 'CANCELLED' } or { 'FINISHED', 'failed' }
  end
  if kind == 'shard' then
    local batch_state = redis.call('HGET', batch, 'state')
    if batch_state == 'paused' then return { 'PAUSED' } end
    if batch_state ~= 'in_progress' then return { 'CANCELLED' } end
    redis.call('HINCRBY', batch, 'running', 1)
  end
  if kind == 'job' then
    begin_attempt(record, log, channel, now, tonumber(redis.call('HGET', record, 'crashed') or 0) == 1 and 'crash' or 'claim')
  else
    local epoch = math.max(tonumber(redis.call('HGET', record, 'epoch')) + 1, now)
    redis.call('HSET', record, 'epoch', text(epoch))
    redis.call('HINCRBY', record, 'n', 1)
  end
end
redis.call('HSET', record, 'state', 'running', 'token', token, 'owner', owner, 'lease', text(now + lease_ms), 'progress', 0,
  'flight', '', 'risk', '')
redis.call('ZREM', due, id)
redis.call('ZADD', leases, text(now + lease_ms), id)
local reply = redis.call('HGETALL', record)
if kind == 'job' or kind == 'shard' then
  give_up_reserve(record)
  redis.call('HDEL', record, 'given_up_nano_usd')        -- whoever held it before is not heard any more
  local budgets, allowed = budgets_of(scopes_of(record)), true
  for _, budget in ipairs(budgets) do allowed = allowed and budget.allowed end
  if #budgets > 0 then
    for _, word in ipairs({ 'budgeted', '1', 'unpriced_allowed', allowed and '1' or '0' }) do reply[#reply + 1] = word end
  end
end
return { 'OK', unpack(reply) }
