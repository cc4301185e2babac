-- uses: clock events fence progress paused bill
local record, log = unpack(KEYS)                     -- hash of a job or a shard, stream of its batch or unused
local epoch, token, channel = unpack(ARGV, 1, 3)     -- rest: what each call can cost at most, in nano-USD, in the order of their turns
local answered, reply = unpack(redis.call('HMGET', record, 'reserve_token', 'reserve_reply'))
if answered == token then
  local words = { 'OK' }
  for word in string.gmatch(reply, '%S+') do words[#words + 1] = word end
  return words
end
local refused = refusal(record, epoch)
if refused then return refused end
local scopes = scopes_of(record)
local budgets = budgets_of(scopes)
for _, budget in ipairs(budgets) do
  local used = redis.call('HMGET', budget.key, 'cost_nano_usd', 'unaccounted_nano_usd', 'reserved_nano_usd')
  budget.spent = tonumber(used[1] or 0) + tonumber(used[2] or 0)
  budget.reserved = tonumber(used[3] or 0)
end

local granted, total, why, scope, limit, spent, amount = 0, 0, 'granted', '-', 0, 0, 0
for i = 4, #ARGV do
  local more = tonumber(ARGV[i])
  for _, budget in ipairs(budgets) do
    if more > budget.limit - budget.spent - budget.reserved then
      -- Calls under way may cost less than what is reserved for them; if that cannot help, nobody waits for it.
      local never = more > budget.limit - budget.spent
      if why == 'granted' or never and why == 'wait' then
        why = never and 'exhausted' or 'wait'
        scope, limit, spent, amount = budget.name, budget.limit, budget.spent, more
      end
    end
  end
  if why ~= 'granted' then break end
  for _, budget in ipairs(budgets) do budget.reserved = budget.reserved + more end
  granted, total = granted + 1, total + more
end
if total > 0 then
  add_to(scopes, 'reserved_nano_usd', total)
  redis.call('HINCRBY', record, 'reserved_nano_usd', text(total))
  redis.call('HSET', record, 'reserve_day', scopes.date)
end

local function usd(nano)
  local digits = string.gsub(string.format('%d.%09d', math.floor(nano / 1e9), nano % 1e9), '(%.%d%d%d-)0+$', '%1')
  return digits
end

if why == 'exhausted' and scopes.batch and scope ~= 'day' and redis.call('HGET', scopes.batch, 'state') == 'in_progress' then
  local whose = scope == 'batch' and 'its budget' or "the tenant's budget"
  local raise = scope == 'batch' and 'headrace batches budget ID USD' or 'headrace spend limit --total USD'
  pause_batch(scopes.batch, log, channel, now_ms(), 'budget: the next call may cost ' .. usd(amount) .. ' USD, and of ' .. whose
    .. ' of ' .. usd(limit) .. ' USD ' .. usd(math.max(0, limit - spent)) .. ' USD is left (to go on: ' .. raise
    .. ', or a smaller max_completion_tokens)')
  redis.call('HSET', scopes.batch, 'paused_by', scope)
end
local words = { text(granted), why, scope, text(limit), text(spent), text(amount) }
redis.call('HSET', record, 'reserve_token', token, 'reserve_reply', table.concat(words, ' '))
return { 'OK', unpack(words) }
