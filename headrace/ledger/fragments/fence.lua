-- What stands against a write under `epoch`: nil, or a refusal. A lease that has run out does not: as long as nobody
-- else began (which makes a newer epoch), the paid answer of the one who was cut off still comes home.
local TERMINAL = { succeeded = true, failed = true, cancelled = true, dead = true }

local function refusal(record, epoch)
  local known = redis.pcall('HMGET', record, 'state', 'epoch')
  if known.err then return { 'DAMAGED', 'no hash' } end
  local state, stored = unpack(known)
  if state and not tonumber(stored) then return { 'DAMAGED', 'no epoch' } end
  -- An older epoch than the caller's: the server came back from an old copy and has lost what the caller holds.
  if not state or tonumber(stored) < tonumber(epoch) then return { 'UNKNOWN' } end
  if stored ~= epoch or epoch == '0' then return { 'FENCED', stored or '0' } end
  if TERMINAL[state] then return { 'CLOSED', state } end
  return nil
end
