-- uses: clock fence
local leases = unpack(KEYS)                          -- zset id -> lease end ms
local prefix, lease_ms = unpack(ARGV, 1, 2)          -- rest: id, epoch of every record that this process holds
local now = now_ms()
local answers = { 'OK' }
for i = 3, #ARGV, 2 do
  local id, epoch = ARGV[i], ARGV[i + 1]
  local batch_id = string.match(id, '^(batch_[^.]+)%.')
  local record = prefix .. (batch_id and ':shard:' or ':job:') .. id
  local refused = refusal(record, epoch)
  local answer = 'OK'
  if refused then
    answer = refused[1]
  elseif redis.call('HGET', record, 'state') == 'running' then
    redis.call('HSET', record, 'lease', text(now + lease_ms))
    redis.call('ZADD', leases, text(now + lease_ms), id)
    if redis.call('HEXISTS', record, 'cancel') == 1 then answer = 'CANCELLED' end
    local batch_state = batch_id and redis.pcall('HGET', prefix .. ':batch:' .. batch_id, 'state')
    if batch_state == 'cancelling' then answer = 'CANCELLED' end
    if batch_state == 'paused' then answer = 'PAUSED' end
  end
  answers[#answers + 1] = answer
end
return answers
