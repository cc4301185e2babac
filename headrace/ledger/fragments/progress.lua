-- A batch's own event log: its counters, at most four times a second, and once more at every change of state. `reason` says
-- why it is paused or was ended, `waiting` why its calls are not going out just now.
local COUNTERS = { 'total', 'succeeded', 'failed', 'cancelled', 'dead', 'input_tokens', 'output_tokens' }
local IF_ANY = { 'cost_nano_usd', 'retried', 'cached' }

local function report(batch, log, channel, now, kind, always)
  local last, epoch, state, reason, waiting = unpack(
    redis.call('HMGET', batch, 'reported', 'epoch', 'state', 'reason', 'waiting'))
  if not always and last and now - tonumber(last) < 250 then return end
  local seq = redis.call('HINCRBY', batch, 'seq', 1)
  redis.call('HSET', batch, 'reported', text(now))
  local parts = { '{"t":"' .. kind .. '","state":"' .. state .. '","at":' .. text(now) }
  for i, value in ipairs(redis.call('HMGET', batch, unpack(COUNTERS))) do
    parts[#parts + 1] = '"' .. COUNTERS[i] .. '":' .. (value or '0')
  end
  for name, why in pairs({ reason = reason, waiting = waiting }) do
    if why and why ~= '' then parts[#parts + 1] = '"' .. name .. '":' .. cjson.encode(why) end
  end
  for i, value in ipairs(redis.call('HMGET', batch, unpack(IF_ANY))) do
    if value and value ~= '0' then parts[#parts + 1] = '"' .. IF_ANY[i] .. '":' .. value end
  end
  put_event(log, channel, epoch .. '-' .. text(seq), table.concat(parts, ',') .. '}')
  redis.call('XTRIM', log, 'MAXLEN', 32)               -- counters are totals: the last says all
end
