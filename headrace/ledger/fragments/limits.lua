-- The limits of a deployment, or of one model there: a hash. Each of its two rates is paced by GCRA: `due_<rate>` is when what was
-- granted so far has flowed off, in microseconds of the server's clock; `idle_<rate>` is when it was last all gone.
local RATES = { 'requests', 'tokens' }
local LIMIT_FIELDS = { 'requests', 'tokens', 'in_flight', 'learnt_requests', 'learnt_tokens', 'learnt_until', 'hold', 'reason',
  'urgent', 'urgent_by', 'due_requests', 'due_tokens', 'idle_requests', 'idle_tokens' }
local KEEP_LIMIT_MS = 3600000
local MINUTE_US = 60000000
local MAX_LIMIT_SCOPES = 200

local function now_us()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end

-- A number that is 0 or more; anything else that stands there counts as nothing.
local function amount(value)
  local number = tonumber(value or nil)
  if number and number >= 0 and number < 1e18 then return number end
  return nil
end

local function stricter(a, b)
  if a and a > 0 and b and b > 0 then return math.min(a, b) end
  return (a and a > 0 and a) or (b and b > 0 and b) or nil
end

-- The effective limits of a scope: what was configured, and what was learnt and still holds.
local function limit_scope(key, now)
  local found, values = redis.call('HMGET', key, unpack(LIMIT_FIELDS)), {}
  for i, name in ipairs(LIMIT_FIELDS) do values[name] = found[i] end
  local is_learnt = (amount(values.learnt_until) or 0) > now / 1000
  local scope = { key = key, values = values, due = {}, idle = {}, unit = {} }
  for _, rate in ipairs(RATES) do
    scope[rate] = stricter(amount(values[rate]), is_learnt and amount(values['learnt_' .. rate]) or nil)
    scope.due[rate] = amount(values['due_' .. rate]) or 0
    scope.idle[rate] = amount(values['idle_' .. rate]) or 0
    scope.unit[rate] = scope[rate] and MINUTE_US / scope[rate]
  end
  scope.in_flight = stricter(amount(values.in_flight), nil)
  scope.hold_us = math.max(0, (amount(values.hold) or 0) - now)
  return scope
end

-- The strictest of what live processes have configured becomes what holds. True when they do not all say the same.
local function agree_on_limits(key, now_ms)
  local stored, strictest, first, differ = redis.call('HGETALL', key), {}, nil, false
  for i = 1, #stored, 2 do
    if string.sub(stored[i], 1, 2) == 'c:' then
      local till, requests, tokens, in_flight = string.match(stored[i + 1], '^(%d+) (%d+) (%d+) (%d+)$')
      if not till or tonumber(till) < now_ms then
        redis.call('HDEL', key, stored[i])
      else
        local said = requests .. ' ' .. tokens .. ' ' .. in_flight
        differ = differ or (first ~= nil and first ~= said)
        first = first or said
        strictest.requests = stricter(strictest.requests, tonumber(requests))
        strictest.tokens = stricter(strictest.tokens, tonumber(tokens))
        strictest.in_flight = stricter(strictest.in_flight, tonumber(in_flight))
      end
    end
  end
  for _, name in ipairs({ 'requests', 'tokens', 'in_flight' }) do
    if strictest[name] then redis.call('HSET', key, name, text(strictest[name])) else redis.call('HDEL', key, name) end
  end
  return differ
end
