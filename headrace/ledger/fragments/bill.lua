-- What the calls of a record cost: the holder of an attempt tells the sums since its claim, a bill: its id, the reserve that is
-- settled, then the numbers of BILL, money in nano-USD. What is more than it told last is added to the record, its batch, its
-- tenant and its tenant's day (those of TENANT_BILL to the last two alone); so a bill may be sent twice, and with any move.
local BILL = { 'cost_nano_usd', 'unaccounted_nano_usd', 'unaccounted_calls', 'unpriced_calls' }
local TENANT_BILL = { 'calls', 'input_tokens', 'output_tokens', 'cached', 'saved_nano_usd' }
-- Budgets by scope: the field of its limit, and the field that allows calls without a known price.
local BUDGETS = { { 'batch', 'budget_nano_usd', 'unpriced_allowed' }, { 'tenant', 'budget_nano_usd', 'unpriced_allowed' },
  { 'day', 'day_budget_nano_usd', 'unpriced_allowed' } }
local KEEP_DAY_MS = 400 * 86400000

-- The date of the server's clock, by civil-from-days (Howard Hinnant).
local function today()
  local z = math.floor(redis.call('TIME')[1] / 86400) + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  return string.format('%04d-%02d-%02d', yoe + era * 400 + (month <= 2 and 1 or 0), month,
    doy - math.floor((153 * mp + 2) / 5) + 1)
end

-- The places where the costs of a record are added up: its batch's (or nil), its tenant's, those of the tenant's day.
local function scopes_of(record)
  local prefix, batch_id = string.match(record, '^(.-):shard:(batch_[^.]+)%.')
  prefix = prefix or string.match(record, '^(.-):job:')
  local batch = batch_id and prefix .. ':batch:' .. batch_id
  local tenant, day, reserved = redis.call('HGET', batch or record, 'tenant') or 'default',
    unpack(redis.call('HMGET', record, 'reserve_day', 'reserved_nano_usd'))
  local spend = prefix .. ':spend:' .. tenant
  -- Until all that it has reserved is settled, a record's calls are those of the day on which that was begun.
  if not day or (tonumber(reserved) or 0) <= 0 then day = today() end
  return { batch = batch, spend = spend, day = spend .. ':' .. day, date = day }
end

local function add_to_tenant(scopes, name, number)
  redis.call('HINCRBY', scopes.spend, name, text(number))
  redis.call('HINCRBY', scopes.day, name, text(number))
  redis.call('PEXPIRE', scopes.day, text(KEEP_DAY_MS))
end

local function add_to(scopes, name, number)
  if number == 0 then return end
  add_to_tenant(scopes, name, number)
  if scopes.batch and redis.call('EXISTS', scopes.batch) == 1 then redis.call('HINCRBY', scopes.batch, name, text(number)) end
end

-- Money that was reserved, and of whose calls nobody will hear any more, counts as spent.
local function unaccount(record, scopes, nano, calls)
  add_to(scopes, 'unaccounted_nano_usd', nano)
  add_to(scopes, 'unaccounted_calls', calls)
  if nano > 0 then redis.call('HINCRBY', record, 'unaccounted_nano_usd', text(nano)) end
  if calls > 0 then redis.call('HINCRBY', record, 'unaccounted_calls', text(calls)) end
end

local function give_up_reserve(record)
  local reserved = tonumber(redis.call('HGET', record, 'reserved_nano_usd') or 0) or 0
  if reserved <= 0 then return 0 end
  local scopes = scopes_of(record)
  unaccount(record, scopes, reserved, 0)
  add_to(scopes, 'reserved_nano_usd', -reserved)
  redis.call('HSET', record, 'reserved_nano_usd', 0)
  redis.call('HINCRBY', record, 'given_up_nano_usd', text(reserved))
  return reserved
end

local function settle(record, bill)
  if bill == '' then return end
  local stored = redis.call('HGET', record, 'billed')
  if stored == bill then return end
  local known, told = {}, {}
  for word in string.gmatch(stored or '', '%S+') do known[#known + 1] = word end
  for word in string.gmatch(bill, '%S+') do told[#told + 1] = word end
  if known[1] ~= told[1] then known = {} end
  local scopes = scopes_of(record)
  for i, name in ipairs(BILL) do
    local more = tonumber(told[i + 2]) - (tonumber(known[i + 2]) or 0)
    if more > 0 then
      add_to(scopes, name, more)
      redis.call('HINCRBY', record, name, text(more))
    end
  end
  for i, name in ipairs(TENANT_BILL) do
    local at = i + 2 + #BILL
    local more = tonumber(told[at]) - (tonumber(known[at]) or 0)
    if more > 0 then add_to_tenant(scopes, name, more) end
  end
  local settled = tonumber(told[2]) - (tonumber(known[2]) or 0)
  if settled > 0 then
    local reserved, given_up = unpack(redis.call('HMGET', record, 'reserved_nano_usd', 'given_up_nano_usd'))
    reserved, given_up = tonumber(reserved or 0) or 0, tonumber(given_up or 0) or 0
    local back = math.min(settled, reserved)
    add_to(scopes, 'reserved_nano_usd', -back)
    redis.call('HSET', record, 'reserved_nano_usd', text(reserved - back))
    -- Of an attempt from which its record was taken back, and that tells late what its calls have cost: what was given up for them
    -- is no longer money of which nobody knows.
    local late = math.min(settled - back, given_up)
    if late > 0 then
      add_to(scopes, 'unaccounted_nano_usd', -late)
      redis.call('HINCRBY', record, 'unaccounted_nano_usd', text(-late))
      redis.call('HINCRBY', record, 'given_up_nano_usd', text(-late))
    end
  end
  redis.call('HSET', record, 'billed', bill)
end

-- The budgets that hold for a record: their names, where their costs are added up, and their limits.
local function budgets_of(scopes)
  local found = {}
  for _, kind in ipairs(BUDGETS) do
    local holder = kind[1] == 'batch' and scopes.batch or kind[1] ~= 'batch' and scopes.spend
    local limit, allowed = unpack(holder and redis.call('HMGET', holder, kind[2], kind[3]) or {})
    if limit then
      local counted = kind[1] == 'day' and scopes.day or holder
      found[#found + 1] = { name = kind[1], key = counted, limit = tonumber(limit), allowed = allowed == '1' }
    end
  end
  return found
end
