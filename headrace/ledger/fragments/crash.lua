-- What a crash says about the records that the process held. A crash with n calls in flight is 1/n of evidence against
-- each; a suspect (evidence of 1/2, or three crashes) runs in a process of its own, the quarantine's, with few others at
-- first, then alone. Only what died alone, three times, is dead.

-- What is read of a record that a process holds. A value of the wrong kind is told as no record at all.
local function read_held(prefix, id, rules)
  local batch_id = string.match(id, '^(batch_[^.]+)%.')
  local held = { id = id, record = prefix .. (batch_id and ':shard:' or ':job:') .. id, owner = '', calls = 0 }
  local fields = redis.pcall('HMGET', held.record, 'state', 'kind', 'queue', 'owner', 'flight', 'count')
  if fields.err or not fields[1] then return held end
  held.batch = batch_id and prefix .. ':batch:' .. batch_id
  held.state, held.kind, held.queue, held.owner = fields[1], fields[2], fields[3], fields[4] or ''
  held.calls = tonumber(fields[5] or '')
  held.beaten = held.calls ~= nil
  if held.kind == 'shard' then
    held.left = math.max((tonumber(fields[6] or '') or 0) - redis.call('HLEN', held.record .. ':res'), 0)
  end
  -- No beat came between the claim and the crash: whatever it might have begun counts.
  held.calls = held.calls or math.min(held.left or 1, rules.width)
  return held
end

local function parts(size, rules)
  return math.max(1, math.min(math.ceil(size / rules.children), rules.company))
end

-- `calls` were in flight in the whole process. Jobs are divided over the children at once. A shard has one child, and half of
-- its suspects run at a time: those that were in flight, and what may have begun since its last beat.
local function into_quarantine(held, calls, rules)
  local company = parts(calls, rules)
  if held.kind == 'shard' then
    local suspects = math.max(1, math.min(held.left, rules.width, math.max(2 * held.calls, rules.children)))
    company = math.min(math.ceil(suspects / 2), rules.company)
    redis.call('HINCRBY', held.batch, 'quarantined', 1)
    redis.call('HSET', held.record, 'suspects', suspects)
  end
  redis.call('HSET', held.record, 'queue', 'quarantine', 'crashes', 0, 'losses', 0, 'evidence', 0, 'alone', 0,
    'company', company)
end

-- One more death while alone; a shard is alone with the item that its field `item` names, and its next claim acts on it.
local function died_alone(held, company, rules)
  local deaths = redis.call('HINCRBY', held.record, 'alone', 1)
  redis.call('HSET', held.record, 'company', math.min(company, 1), 'suspects', 1)
  if held.kind == 'job' and deaths >= rules.alone then return 'dead' end
end

local function judge_in_quarantine(held, rules)
  local record, crash = held.record, held.crash
  local company = tonumber(redis.call('HGET', record, 'company') or 1) or 1
  if crash.accused == held.id then return died_alone(held, company, rules) end
  if crash.accused then return nil end
  local alone = crash.records == 1 and (held.kind == 'job' or company <= 1)
  if not crash.seen then
    -- The whole worker went: it need not have been one of these. The third time it is taken so; a job for which that happens
    -- again and again gets a company of 0, nothing else in the whole worker.
    local crashes = redis.call('HINCRBY', record, 'crashes', 1)
    if crashes >= rules.exclusive and company == 1 and held.kind == 'job' then
      redis.call('HSET', record, 'company', 0)
      return nil
    end
    if not (alone and company == 0) and crashes % rules.crashes ~= 0 then return nil end
  end
  if alone then return died_alone(held, company, rules) end
  local size = math.min(math.max(company, 1), held.left or crash.records)
  redis.call('HSET', record, 'company', parts(size, rules), 'suspects', size)
end

-- Counts the crash against `held`; returns 'dead' for a job that has died alone often enough.
local function judge(held, rules)
  local record, crash = held.record, held.crash
  if held.kind == 'join' or held.kind == 'check' then return nil end
  if held.queue == 'quarantine' then return judge_in_quarantine(held, rules) end
  if crash.accused then
    if crash.accused == held.id then into_quarantine(held, 1, rules) end
    return nil
  end
  if held.calls == 0 then return nil end
  local losses, evidence = redis.call('HINCRBY', record, 'losses', 1), 0
  -- A shard that made way is not blamed, until it has crashed so often that one of its items may be at it.
  if held.kind == 'job' or redis.call('HGET', record, 'progress') ~= '1' then
    redis.call('HINCRBY', record, 'crashes', 1)
    evidence = redis.call('HINCRBY', record, 'evidence', math.floor(1000000 / crash.calls))
  end
  if evidence >= 500000 or losses >= rules.crashes then into_quarantine(held, crash.calls, rules) end
end
