-- A batch's own event log: its counters, at most four times a second, and once more at every change of state.
local COUNTERS = { 'total', 'succeeded', 'failed', 'cancelled', 'dead', 'input_tokens', 'output_tokens' }

local function report(batch, log, channel, now, kind, always)
  local last, epoch, state = unpack(redis.call('HMGET', batch, 'reported', 'epoch', 'state'))
  if not always and last and now - tonumber(last) < 250 then return end
  local seq = redis.call('HINCRBY', batch, 'seq', 1)
  redis.call('HSET', batch, 'reported', text(now))
  local parts = { '{"t":"' .. kind .. '","state":"' .. state .. '","at":' .. text(now) }
  for i, value in ipairs(redis.call('HMGET', batch, unpack(COUNTERS))) do
    parts[#parts + 1] = '"' .. COUNTERS[i] .. '":' .. (value or '0')
  end
  put_event(log, channel, epoch .. '-' .. text(seq), table.concat(parts, ',') .. '}')
  redis.call('XTRIM', log, 'MAXLEN', 32)               -- counters are totals: the last says all
end
