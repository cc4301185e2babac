-- Whether a record can be worked with: nil, or in a few words why not. One bad record must not end a script for its neighbours.
local ALIVE = { queued = true, running = true, parked = true }
local ENDED = { succeeded = true, failed = true, cancelled = true, dead = true }
local KINDS_OF_RECORD = { job = true, shard = true, join = true, check = true }
local NUMBERS = { 'n', 'seq', 'crashes', 'losses', 'crashed', 'evidence', 'alone', 'company',
  'suspects', 'hints', 'lease', 'ttl', 'created', 'expires', 'bytes', 'progress' }

local function is_integer(value)
  return string.match(value, '^%-?%d+$') ~= nil and #value <= 15
end

local function damage_of(record, queues)
  if redis.call('TYPE', record).ok == 'none' then return nil end
  local known = redis.pcall('HMGET', record, 'state', 'kind', 'queue', 'home', 'epoch')
  if known.err then return 'no hash' end
  local state, kind, queue, home, epoch = unpack(known)
  if ENDED[state or ''] then return nil end
  if not ALIVE[state or ''] then return 'no state' end
  if not KINDS_OF_RECORD[kind or ''] then return 'no kind' end
  if not is_integer(epoch or '') then return 'no epoch' end
  for _, name in ipairs({ queue or '', home or '' }) do
    if not string.find(' ' .. queues .. ' ', ' ' .. name .. ' ', 1, true) then return 'no queue' end
  end
  for i, value in ipairs(redis.call('HMGET', record, unpack(NUMBERS))) do
    if value and not is_integer(value) then return NUMBERS[i] .. ' is no number' end
  end
  local batch, of_a_batch = string.gsub(record, ':shard:(batch_[%w_-]+)%..*$', ':batch:%1')
  if of_a_batch == 1 then
    -- What a move of this record does to its batch must not fail either.
    local running = redis.pcall('HGET', batch, 'running')
    if type(running) == 'table' or running and not is_integer(running) then return 'its batch is damaged' end
  end
  local beside, type_beside = ':res', 'hash'
  if kind == 'job' then beside, type_beside = ':log', 'stream' end
  local found = redis.call('TYPE', record .. beside).ok
  if found ~= 'none' and found ~= type_beside then return 'no ' .. type_beside .. ' beside it' end
  if kind == 'job' and state == 'running' and redis.call('HEXISTS', record, 'seq') == 0 then return 'no seq' end
  return nil
end

-- The form of a job's, a shard's or a join's id.
local function is_record_id(id)
  return string.match(id, '^job_[%w_-]+$') or string.match(id, '^batch_[%w_-]+%.s%d+$') or string.match(id, '^batch_[%w_-]+%.join$')
    or string.match(id, '^batch_[%w_-]+%.check$')
end
