local holder = unpack(KEYS)                          -- hash: of a batch, or of what a tenant has spent
-- nano_usd: '' for no budget any more; allowed: '1' when calls without a known price may pass
local field, nano_usd, allowed, of_batch = unpack(ARGV)
if of_batch == '1' then
  local state = redis.call('HGET', holder, 'state')
  if not state then return { 'UNKNOWN' } end
  if state ~= 'in_progress' and state ~= 'paused' and state ~= 'validating' then return { 'CLOSED', state } end
end
if nano_usd == '' then redis.call('HDEL', holder, field) else redis.call('HSET', holder, field, nano_usd) end
if allowed ~= '' then redis.call('HSET', holder, 'unpriced_allowed', allowed) end
return { 'OK', of_batch == '1' and redis.call('HGET', holder, 'paused_by') or '' }
