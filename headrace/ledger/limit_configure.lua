-- uses: clock limits
local limits = unpack(KEYS)                          -- hash scope -> its name for people
local prefix, process, life_ms = unpack(ARGV, 1, 3)  -- rest: scope, name, requests, tokens, calls in flight of each that is configured
local now = now_us()
for i = 4, #ARGV, 5 do
  local key = prefix .. ':limit:' .. ARGV[i]
  redis.call('HSET', limits, ARGV[i], ARGV[i + 1])
  if tonumber(life_ms) > 0 then
    redis.call('HSET', key, 'c:' .. process, text(now / 1000 + life_ms) .. ' ' .. table.concat({ unpack(ARGV, i + 2, i + 4) }, ' '))
  else
    redis.call('HDEL', key, 'c:' .. process, 'p:' .. process)
  end
  redis.call('PEXPIRE', key, KEEP_LIMIT_MS)
end
local stored, answers = redis.call('HGETALL', limits), { 'OK' }
for i = 1, math.min(#stored, 2 * MAX_LIMIT_SCOPES), 2 do
  local key = prefix .. ':limit:' .. stored[i]
  if redis.call('TYPE', key).ok ~= 'hash' then
    redis.call('HDEL', limits, stored[i])
  else
    local differ = agree_on_limits(key, now / 1000)
    local scope = limit_scope(key, now)
    for _, answer in ipairs({ stored[i], stored[i + 1], text(scope.requests or 0), text(scope.tokens or 0),
      text(scope.in_flight or 0), text(math.ceil(scope.hold_us / 1000)), scope.values.reason or '', differ and '1' or '0' }) do
      answers[#answers + 1] = answer
    end
  end
end
return answers
