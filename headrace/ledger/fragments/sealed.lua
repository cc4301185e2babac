-- Whether a batch still takes rows: nil, or a refusal. After `seal` none is added.
local TAKES_ROWS = { in_progress = true, paused = true, cancelling = true }

local function sealed(batch)
  local state = redis.call('HGET', batch, 'state') or 'unknown'
  if TAKES_ROWS[state] then return nil, state end
  return { 'CLOSED', state }, state
end
