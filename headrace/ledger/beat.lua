-- uses: clock fence bill
local leases, processes = unpack(KEYS)               -- zset id -> lease end ms, zset process -> alive until ms
local prefix, lease_ms, process = unpack(ARGV, 1, 3)
-- rest, of every record that this process holds: id, epoch, calls in flight, what they may cost (`calls nano-USD`), '1' for a shard
-- whose attempt keeps no budget
local now = now_ms()
local lease = text(now + lease_ms)
if process ~= '' then redis.call('ZADD', processes, lease, process) end
local answers = { 'OK' }
for i = 4, #ARGV, 5 do
  local id, epoch, flight, risk, unbudgeted = unpack(ARGV, i, i + 4)
  local batch_id = string.match(id, '^(batch_[^.]+)%.')
  local record = prefix .. (batch_id and ':shard:' or ':job:') .. id
  local refused = refusal(record, epoch)
  local answer = 'OK'
  if refused then
    answer = refused[1]
  elseif redis.call('HGET', record, 'state') == 'running' then
    redis.call('HSET', record, 'lease', lease, 'flight', flight, 'risk', risk == '' and '-' or risk)
    redis.call('ZADD', leases, lease, id)
    if redis.call('HEXISTS', record, 'cancel') == 1 then answer = 'CANCELLED' end
    if unbudgeted == '1' and #budgets_of(scopes_of(record)) > 0 then answer = 'BUDGETED' end
    local batch_state = batch_id and redis.pcall('HGET', prefix .. ':batch:' .. batch_id, 'state')
    if batch_state == 'cancelling' then answer = 'CANCELLED' end
    if batch_state == 'paused' then answer = 'PAUSED' end
  else
    answer = 'REQUEUED'                              -- taken back, and nobody has claimed it yet
  end
  answers[#answers + 1] = answer
end
return answers
