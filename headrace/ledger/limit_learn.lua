-- uses: clock limits
local limit, limits = unpack(KEYS)                   -- hash, hash scope -> its name for people
-- requests, tokens: a minute's; 0: not said. empty_ms: how long nothing of it is left; 0 when something is
local scope, name, requests, tokens, empty_requests_ms, empty_tokens_ms, life_ms, channel = unpack(ARGV)
local now = now_us()
local known = redis.call('HMGET', limit, 'learnt_requests', 'learnt_tokens', 'learnt_until')
local is_new = not known[3] or (amount(known[3]) or 0) < now / 1000
for i, each in ipairs({ requests, tokens }) do
  if tonumber(each) > 0 then
    is_new = is_new or known[i] ~= each
    redis.call('HSET', limit, 'learnt_' .. RATES[i], each)
  end
end
redis.call('HSET', limit, 'learnt_until', text(now / 1000 + life_ms))
-- Others use the same account: what is granted next has to wait for what they have taken.
for i, empty_ms in ipairs({ empty_requests_ms, empty_tokens_ms }) do
  local due = amount(redis.call('HGET', limit, 'due_' .. RATES[i])) or 0
  if tonumber(empty_ms) > 0 then redis.call('HSET', limit, 'due_' .. RATES[i], text(math.max(due, now + empty_ms * 1000))) end
end
redis.call('PEXPIRE', limit, KEEP_LIMIT_MS)
redis.call('HSET', limits, scope, name)
if is_new then redis.call('PUBLISH', channel, 'changed') end
return { 'OK', is_new and '1' or '0' }
