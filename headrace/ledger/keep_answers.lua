-- uses: clock
local use, order = unpack(KEYS)                      -- hash: what the cached answers take; list of the tenant's, "sha bytes ms stamp", oldest first
local prefix, tenant, process, ttl_ms, max_bytes, tenant_bytes = unpack(ARGV, 1, 6)
-- rest: sha, record whose flight ends ('' : none), what to do (`set`, `add` where none is, `leave`, `fail`), the answer
local OVERHEAD, STAMP, MAX_EXPIRED, FAILED_MS = 200, 8, 500, 5000
local now = now_ms()
max_bytes, tenant_bytes = tonumber(max_bytes), tonumber(tenant_bytes)

local function take(field, bytes)
  redis.call('HINCRBY', use, field, bytes)
  redis.call('HINCRBY', use, 'bytes', bytes)
end

-- Drop the oldest answer of a tenant; false when it has none. Another one may have taken its place under its key since.
local function drop(list, field)
  local oldest = redis.call('LPOP', list)
  if not oldest then
    take(field, -tonumber(redis.call('HGET', use, field) or 0))
    return false
  end
  local sha, bytes, _, stamp = string.match(oldest, '^(%S+) (%d+) (%d+) (.*)$')
  if not sha then return true end
  local key = prefix .. ':cache:' .. sha
  if redis.pcall('GETRANGE', key, 0, STAMP - 1) == stamp then redis.call('UNLINK', key) end
  take(field, -tonumber(bytes))
  return true
end

local kept, bytes, places, led, flights = 0, 0, {}, {}, {}
for i = 7, #ARGV, 4 do
  local sha, record, how, answer = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local key = prefix .. ':cache:' .. sha
  if how == 'set' or how == 'add' and redis.call('EXISTS', key) == 0 then
    local stamp = string.sub(answer, 1, STAMP)
    local before = redis.pcall('SET', key, answer, 'PX', ttl_ms, 'GET')
    if type(before) == 'table' then redis.call('SET', key, answer, 'PX', ttl_ms) end   -- it was no string
    kept = kept + 1
    -- Sent twice, or the same again: it is there already, and counted.
    if (max_bytes > 0 or tenant_bytes > 0) and (type(before) ~= 'string' or string.sub(before, 1, STAMP) ~= stamp) then
      local size = #answer + OVERHEAD
      places[#places + 1] = sha .. ' ' .. size .. ' ' .. text(now) .. ' ' .. stamp
      bytes = bytes + size
    end
  end
  if record ~= '' then
    led[#led + 1] = i
    flights[#flights + 1] = prefix .. ':flight:' .. sha
  end
end
if #led > 0 then
  local ended = {}
  for n, known in ipairs(redis.call('MGET', unpack(flights))) do
    local i = led[n]
    if known == process .. ' ' .. ARGV[i + 1] then
      if ARGV[i + 2] == 'fail' then redis.call('SET', flights[n], '-', 'PX', FAILED_MS) else ended[#ended + 1] = flights[n] end
    end
  end
  if #ended > 0 then redis.call('DEL', unpack(ended)) end
end
if #places > 0 then
  redis.call('RPUSH', order, unpack(places))
  take('bytes:' .. tenant, bytes)
end
if kept == 0 then return { 'OK', 0 } end
for _ = 1, MAX_EXPIRED do
  local oldest = redis.call('LINDEX', order, 0)
  local since = oldest and string.match(oldest, '^%S+ %d+ (%d+) ')
  if not since or tonumber(since) + tonumber(ttl_ms) > now then break end
  drop(order, 'bytes:' .. tenant)
end
while tenant_bytes > 0 and tonumber(redis.call('HGET', use, 'bytes:' .. tenant) or 0) > tenant_bytes do
  if not drop(order, 'bytes:' .. tenant) then break end
end
while max_bytes > 0 and tonumber(redis.call('HGET', use, 'bytes') or 0) > max_bytes do
  -- Of the tenant that takes most: one that asks much empties nobody else's.
  local most, field, all = 0, nil, redis.call('HGETALL', use)
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 6) == 'bytes:' and tonumber(all[i + 1]) > most then most, field = tonumber(all[i + 1]), all[i] end
  end
  if not field then
    redis.call('HSET', use, 'bytes', 0)
    break
  end
  local list = prefix .. ':cached:' .. string.sub(field, 7)
  while tonumber(redis.call('HGET', use, 'bytes')) > max_bytes and drop(list, field) do end
end
redis.call('HSET', use, 'max_bytes', text(max_bytes))  -- for whoever shows it
redis.call('PEXPIRE', use, ttl_ms)
if redis.call('EXISTS', order) == 1 then redis.call('PEXPIRE', order, ttl_ms) end
return { 'OK', kept }
