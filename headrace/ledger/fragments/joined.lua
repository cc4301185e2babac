-- What a repeated request is given instead of something new: that whose answer has not reached whoever asked the same.
--
-- `unread`: hash id -> how its client waits (unread.py). `records`, `gateways`: what the keys of its records, and of the leases of
-- gateways, begin with. Returns an id; or nil and the milliseconds after which it will be known whether the gateway of one is dead.
local GATEWAY_FRESH_MS = 4200

-- Whether an answer can be handed out no more: of a job some time after its end, or without its result; of what else was created
-- some time after that.
local function is_past(record, since, now, unread_ms)
  if not string.find(record, ':job:', 1, true) then
    return since + unread_ms < now or redis.call('EXISTS', record) == 0
  end
  local state, ended = unpack(redis.call('HMGET', record, 'state', 'ended'))
  return not state or ended and ((tonumber(ended) or 0) + unread_ms < now or redis.call('EXISTS', record .. ':result') == 0)
end

-- For how many milliseconds a gateway is there at least; negative for one that is gone. Its subscription ends with its process,
-- seconds before its lease.
local function lease_of(key)
  if redis.call('GET', key) == 'watched' and redis.call('PUBSUB', 'NUMSUB', key)[2] == 0 then return -1 end
  return redis.call('PTTL', key)
end

-- A job whose client has left, or whose gateway is gone; for a client's own retry (`again`) else one that another gateway holds;
-- else one whose client has left right after it; else one held here, for who stands between may hide that a client has left. Of
-- equals the one that was touched longest ago: so many who ask the same are each given another.
local function take_unread(unread, records, gateways, token, gateway, again, now, unread_ms)
  local best, best_rank, best_since, wait, leases, entries = nil, nil, nil, nil, {}, redis.call('HGETALL', unread)
  for at = 1, #entries, 2 do
    local known, how, holder, mark, since = entries[at], string.match(entries[at + 1], '^(%S+) (%S+) (%S+) (%d+)$')
    if mark == token then return known end           -- this call, sent twice
    local rank, doubt = nil, nil
    if how == 'left' then
      rank = 0
    elseif how == 'held' and holder ~= gateway then
      leases[holder] = leases[holder] or lease_of(gateways .. holder)
      if leases[holder] < 0 then rank = 0
      elseif again then rank = 1
      elseif leases[holder] < GATEWAY_FRESH_MS then doubt = leases[holder] end
    elseif again or not how then
      rank = how == 'sent' and 2 or 3
    end
    if rank or doubt then
      since = tonumber(since) or 0
      if is_past(records .. known, since, now, unread_ms) then
        redis.call('HDEL', unread, known)
      elseif doubt then
        wait = math.max(wait or 0, doubt)
      elseif not best or rank < best_rank or rank == best_rank and since < best_since then
        best, best_rank, best_since = known, rank, since
      end
    end
  end
  return best, wait
end

local function hold_unread(unread, id, gateway, token, now)
  redis.call('HSET', unread, id, 'held ' .. gateway .. ' ' .. token .. ' ' .. text(now))
end
