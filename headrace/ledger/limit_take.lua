-- uses: clock limits
local deployment, model = unpack(KEYS)               -- hashes; the same one twice for calls that only the deployment limits
-- n: calls to be granted. The rest: the tokens of each, then of every call that is settled: when it was granted (us), and what it
-- took beyond its estimate, in requests and tokens (negative: it took less). held: the process's calls in flight
local process, token, class, held, held_of_model, lease_ms, burst_us, n = unpack(ARGV, 1, 8)
local now = now_us()
n = tonumber(n)
local own = redis.call('HGET', deployment, 'p:' .. process) or redis.call('HGET', model, 'p:' .. process)
if own then
  local known, granted, wait, pace, reason, limit, at =
    string.match(own, '^%d+ %d+ (%S+) (%d+) (%d+) (%d+) (%S+) (%d+) (%d+)$')
  if known == token then return { 'OK', granted, wait, pace, reason, limit, at } end
end

local scopes = { limit_scope(deployment, now) }
scopes[1].held = tonumber(held)
if model ~= deployment then
  scopes[2] = limit_scope(model, now)
  scopes[2].held = tonumber(held_of_model)
end

for _, scope in ipairs(scopes) do
  for i = 9 + n, #ARGV, 3 do
    for j, rate in ipairs(RATES) do
      local more = tonumber(ARGV[i + j])
      -- What was granted before all had flowed off is forgotten already: to give it back would grant it twice.
      if scope.unit[rate] and more ~= 0 and (more > 0 or tonumber(ARGV[i]) >= scope.idle[rate]) then
        if more > 0 and scope.due[rate] < now then scope.due[rate], scope.idle[rate] = now, now end
        scope.due[rate] = math.max(0, scope.due[rate] + more * scope.unit[rate])
      end
    end
  end
  scope.others = 0
  if scope.in_flight then
    local stored = redis.call('HGETALL', scope.key)
    for i = 1, #stored, 2 do
      if string.sub(stored[i], 1, 2) == 'p:' and stored[i] ~= 'p:' .. process then
        local till, theirs = string.match(stored[i + 1], '^(%d+) (%d+) ')
        if not till or tonumber(till) < now / 1000 then redis.call('HDEL', scope.key, stored[i])
        else scope.others = scope.others + tonumber(theirs) end
      end
    end
  end
end

local is_bulk = class == 'bulk'

-- How long a call of so many tokens has to wait at this scope, for what, and the limit's number; 0 when it may begin.
local function lacking(scope, tokens)
  if scope.hold_us > 0 then return scope.hold_us, 'held', 0 end
  local urgent = amount(scope.values.urgent) or 0
  if is_bulk and urgent > now then return urgent - now, 'urgent', 0 end
  if scope.in_flight then
    -- A part is left for interactive calls: bulk would be in every place whenever one comes.
    local room = scope.in_flight
    if is_bulk and room > 1 then room = room - math.max(1, math.floor(room / 8)) end
    if scope.others + scope.held >= room then return 100000, 'in_flight', scope.in_flight end
  end
  local wait, reason, limit = 0, '', 0
  for _, rate in ipairs(RATES) do
    if scope.unit[rate] then
      local cost = (rate == 'requests' and 1 or tokens) * scope.unit[rate]
      local owed = math.max(0, scope.due[rate] - now)
      local burst = is_bulk and tonumber(burst_us) * 2 / 3 or tonumber(burst_us)
      -- Tokens come in lumps: one may pass the burst by half, or two large ones would never follow each other without a pause. A
      -- larger one waits until nothing is owed.
      local excess = math.min(rate == 'requests' and owed + cost - burst or math.max(owed - burst, owed + cost - burst * 1.5), owed)
      if excess > wait then wait, reason, limit = excess, rate, scope[rate] end
    end
  end
  return math.ceil(wait), reason, limit
end

local granted, wait, reason, limit, pace, tokens_granted = 0, 0, 'none', 0, 0, 0
for _, scope in ipairs(scopes) do
  if scope.requests or scope.tokens or scope.in_flight or scope.hold_us > 0 then reason = 'granted' end
end
for i = 1, n do
  local tokens = tonumber(ARGV[8 + i])
  for _, scope in ipairs(scopes) do
    local lacks, what, number = lacking(scope, tokens)
    if lacks > wait then wait, reason, limit = lacks, what, number end
    pace = math.max(pace, scope.unit.requests or 0, tokens * (scope.unit.tokens or 0))
  end
  if wait > 0 then break end
  for _, scope in ipairs(scopes) do
    for _, rate in ipairs(RATES) do
      if scope.unit[rate] then
        if scope.due[rate] <= now then scope.due[rate], scope.idle[rate] = now, now end
        scope.due[rate] = scope.due[rate] + (rate == 'requests' and 1 or tokens) * scope.unit[rate]
      end
    end
    scope.held = scope.held + 1
  end
  granted, tokens_granted = granted + 1, tokens_granted + tokens
end

local reply = { text(granted), text(wait), text(math.ceil(pace)), reason, text(limit), text(now) }
local minute = text(math.floor(now / MINUTE_US))
for _, scope in ipairs(scopes) do
  local key = scope.key
  if redis.call('EXISTS', key) == 1 then
    redis.call('HSET', key, 'due_requests', text(scope.due.requests), 'due_tokens', text(scope.due.tokens),
      'idle_requests', text(scope.idle.requests), 'idle_tokens', text(scope.idle.tokens),
      'p:' .. process, table.concat({ text(now / 1000 + lease_ms), text(scope.held), token, unpack(reply) }, ' '))
    if not is_bulk and granted < n and reason ~= 'held' then
      redis.call('HSET', key, 'urgent', text(now + math.min(wait + 250000, 2000000)), 'urgent_by', process)
    elseif not is_bulk and scope.values.urgent_by == process then
      redis.call('HDEL', key, 'urgent', 'urgent_by')
    end
    if redis.call('HGET', key, 'minute') ~= minute then
      local last = redis.call('HMGET', key, 'minute', 'calls', 'tokens_granted')
      local is_next = amount(last[1]) == tonumber(minute) - 1
      redis.call('HSET', key, 'minute', minute, 'calls', 0, 'tokens_granted', 0, 'calls_before', is_next and last[2] or 0,
        'tokens_before', is_next and last[3] or 0)
    end
    redis.call('HINCRBY', key, 'calls', text(granted))
    redis.call('HINCRBY', key, 'tokens_granted', text(tokens_granted))
    redis.call('PEXPIRE', key, KEEP_LIMIT_MS)
  end
end
return { 'OK', unpack(reply) }
