-- uses: clock events terminal progress record rejected
local due, leases, open, rejected, rejections = unpack(KEYS)   -- three zsets, list, hash kind -> count
local prefix, where, queues, result, event, keep_ms = unpack(ARGV, 1, 6)   -- rest: names of records, as they stand in `where`
-- Only what really is damaged: a script may have failed for another record, or for what all of them share.
local now = now_ms()
local done = { 'OK' }
local BATCH_NUMBERS = { 'epoch', 'seq', 'fed', 'done', 'shards', 'running', 'expires', 'total' }

local function damage_of_batch(batch)
  if redis.call('TYPE', batch).ok == 'none' then return nil end
  local known = redis.pcall('HMGET', batch, unpack(BATCH_NUMBERS))
  if known.err then return 'no hash' end
  for i, name in ipairs(BATCH_NUMBERS) do
    if not is_integer(known[i] or '') then return name .. ' is no number' end
  end
  if not redis.call('HGET', batch, 'state') then return 'no state' end
  return nil
end

local function end_damaged_job(record, id)
  -- Whoever waits for it must learn that it ended; what was damaged is written anew, and its log with it.
  local log = record .. ':log'
  redis.call('DEL', log, record .. ':result')
  local ttl = redis.call('HGET', record, 'ttl')
  redis.call('HSET', record, 'kind', 'job', 'epoch', text(now), 'ttl', ttl and is_integer(ttl) and ttl or '3600000')
  put_event(log, record .. ':ch', text(now) .. '-1', '{"t":"attempt.start","n":1,"reset":true,"reason":"damaged"}')
  end_job(record, id, log, record .. ':ch', record .. ':result', due, leases, now, 2, 'failed', 'damaged', result, event, now,
    tonumber(keep_ms))
end

local function end_damaged_batch(batch)
  redis.call('HSET', batch, 'state', 'failed', 'reason', 'its record in Redis was damaged', 'ended', text(now))
  for _, name in ipairs({ '', ':log', ':parts', ':refused', ':reasons' }) do redis.call('PEXPIRE', batch .. name, 604800000) end
end

-- A batch whose check is damaged has paid nothing: it ends, and is created anew.
local function pause_its_batch(id, was_running)
  local batch_id, name = string.match(id, '^(batch_[%w_-]+)%.(.*)$')
  local batch = prefix .. ':batch:' .. batch_id
  if redis.pcall('HGET', batch, 'kind') ~= 'batch' or damage_of_batch(batch) then return end
  if name == 'check' then
    if redis.call('HGET', batch, 'state') == 'validating' then end_damaged_batch(batch) end
    return
  end
  if was_running and name ~= 'join' then redis.call('HINCRBY', batch, 'running', -1) end
  if redis.call('HGET', batch, 'state') ~= 'in_progress' then return end
  redis.call('HSET', batch, 'state', 'paused', 'reason',
    name .. ' is damaged in Redis: cancel the batch, then `batches retry` runs what is missing')
  report(batch, batch .. ':log', batch .. ':ch', now, 'batch.state', true)
end

for i = 7, #ARGV do
  local id = ARGV[i]
  local is_batch = string.match(id, '^batch_[%w_-]+$') ~= nil
  local record = prefix .. (is_batch and ':batch:' or string.sub(id, 1, 6) == 'batch_' and ':shard:' or ':job:') .. id
  local why
  if not is_batch and not is_record_id(id) then why = 'no id'
  elseif is_batch then why = damage_of_batch(record)
  else why = damage_of(record, queues) end
  if why then
    keep_rejected(rejected, rejections, now, why == 'no id' and 'name' or 'record', where, why, id)
    local was_running = redis.call('ZSCORE', leases, id)
    for _, index in ipairs({ due, leases, open }) do redis.call('ZREM', index, id) end
    if is_batch then
      if why ~= 'no hash' then end_damaged_batch(record) end
    elseif string.match(id, '^batch_') and why ~= 'no id' then
      pause_its_batch(id, was_running)
    elseif why ~= 'no hash' and why ~= 'no id' then
      end_damaged_job(record, id)
    end
    done[#done + 1] = id
    done[#done + 1] = why
  end
end
return done
