-- uses: clock events attempt fence terminal crash bill
local leases, due, processes = unpack(KEYS)          -- zset id -> lease end ms, zset id -> ms, zset process -> alive until ms
local prefix, limit, grace_ms, ended, accused, only, item, keep_ms, result, event = unpack(ARGV, 1, 10)   -- rest: name, value of every rule
-- Takes back the records of processes that are gone: those whose leases ran out, or the one that `ended` names, because
-- somebody saw it end. All records of one crash are judged together (fragments/crash.lua says how). `only` is the record of an
-- attempt that ended in an error while its process goes on, `item` the item of a shard whose error it was.
local rules = {}
for i = 11, #ARGV, 2 do rules[ARGV[i]] = tonumber(ARGV[i + 1]) end
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', processes, '-inf', text(now - 3600000))

-- A crash's last claims came after its last beat: they are taken with the others, though their leases run a moment longer.
local entries
if only ~= '' then
  entries = { only, '0' }
elseif ended == '' then
  entries = redis.call('ZRANGEBYSCORE', leases, '-inf', text(now + rules.together_ms), 'WITHSCORES', 'LIMIT', 0, limit)
else
  entries = redis.call('ZRANGE', leases, 0, limit - 1, 'WITHSCORES')
end

local records, gone = {}, {}
for i = 1, #entries, 2 do
  local held = read_held(prefix, entries[i], rules)
  held.expired = tonumber(entries[i + 1]) <= now
  if ended ~= '' then
    gone[held.owner] = gone[held.owner] or held.owner == ended or string.sub(held.owner, 1, #ended + 1) == ended .. '/'
  elseif held.expired and tonumber(redis.call('ZSCORE', processes, held.owner) or 0) <= now then
    gone[held.owner] = true
  end
  records[#records + 1] = held
end
if ended ~= '' and only == '' then redis.call('ZREM', processes, ended) end

-- The children of one quarantine worker carry its name: when it is gone, they died with it.
local crashes = {}
for _, held in ipairs(records) do
  if held.state == 'running' and gone[held.owner] then
    local seen = held.owner == ended
    local family = seen and held.owner or string.match(held.owner, '^[^/]*')
    local crash = crashes[family] or { records = 0, calls = 0, seen = seen }
    crash.records = crash.records + 1
    crash.calls = crash.calls + held.calls
    crash.accused = accused ~= '' and accused or nil
    crashes[family], held.crash = crash, crash
  end
end

local hints = { 'OK' }
for _, held in ipairs(records) do
  local id, record = held.id, held.record
  if held.state ~= 'running' then
    if held.expired then redis.call('ZREM', leases, id) end
  elseif held.crash or held.expired then             -- expired alone and never beaten: a claim whose answer was lost
    redis.call('ZREM', leases, id)
    if held.kind == 'shard' then redis.call('HINCRBY', held.batch, 'running', -1) end
    if held.crash then redis.call('HSET', record, 'crashed', 1) end
    if held.kind == 'job' or held.kind == 'shard' then
      -- The calls in flight were paid, and nobody has heard what they cost: what was reserved for them, or what the last beat said.
      local reserved = give_up_reserve(record)
      local risk = redis.call('HGET', record, 'risk') or ''
      local calls, nano = string.match(risk, '^(%d+) (%d+)$')
      if held.crash and risk == '' then calls = held.calls end   -- no beat came: nobody knows what had begun
      unaccount(record, scopes_of(record), reserved > 0 and 0 or tonumber(nano or 0), tonumber(calls or 0))
      redis.call('HDEL', record, 'risk')
    end
    local verdict
    if held.crash then
      verdict = judge(held, rules)
    elseif held.beaten then                          -- its attempt ended somehow, while its process goes on
      held.crash = { records = 1, calls = 1, seen = true, accused = id }
      verdict = judge(held, rules)
    end
    if item ~= '' then redis.call('HSET', record, 'item', item, 'suspects', 1, 'company', 1) end
    local log, epoch = record .. ':log', tonumber(redis.call('HGET', record, 'epoch'))
    if held.kind == 'job' and redis.call('HEXISTS', record, 'cancel') == 1 then
      end_job(record, id, log, record .. ':ch', record .. ':result', due, leases, epoch,
        tonumber(redis.call('HGET', record, 'seq')) + 1, 'cancelled', 'cancelled',
        '{"code":"cancelled","message":"cancelled; its worker was lost"}', '{"t":"end","status":"cancelled"}', now,
        tonumber(keep_ms))
    elseif verdict == 'dead' then
      end_job(record, id, log, record .. ':ch', record .. ':result', due, leases, epoch,
        tonumber(redis.call('HGET', record, 'seq')) + 1, 'dead', 'worker_lost', result, event, now, tonumber(keep_ms))
    else
      redis.call('HSET', record, 'state', 'queued', 'hints', 1)
      redis.call('HDEL', record, 'lease', 'token', 'owner')
      redis.call('ZADD', due, text(now + grace_ms), id)
      hints[#hints + 1] = redis.call('HGET', record, 'queue')
      hints[#hints + 1] = id
    end
  end
end
return hints
