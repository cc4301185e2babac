-- What a request that creates something is given instead, or a refusal; nil when it is to create it: under an idempotency key
-- (`keyed`) what that has made, else what an equal request has made whose client left without knowing (joined.lua). `created`
-- holds `<id> <digest of the request>`.
local function created_before(created, unread, lease, records, keyed, digest, id, gateway, again, now, unread_ms)
  if keyed == '1' then
    local known, asked = string.match(redis.call('GET', created) or '', '^(%S+) (%S+)$')
    if not known or redis.call('EXISTS', records .. known) == 0 then return nil end
    if asked ~= digest then return { 'CONFLICT', known } end
    return { 'OK', known }
  end
  if gateway == '' then return nil end
  local gateways = string.sub(lease, 1, #lease - #gateway)
  local known, wait = take_unread(unread, records, gateways, id, gateway, again == '1', now, tonumber(unread_ms))
  if known then
    hold_unread(unread, known, gateway, id, now)
    return { 'OK', known }
  end
  return wait and { 'BUSY', text(wait) }
end

-- Remember that `id` was created.
local function remember(created, unread, keyed, digest, key_ms, id, gateway, now, unread_ms)
  if keyed == '1' then
    redis.call('SET', created, id .. ' ' .. digest, 'PX', key_ms)
  elseif gateway ~= '' and redis.call('HLEN', unread) < 1000 then
    hold_unread(unread, id, gateway, id, now)
    redis.call('PEXPIRE', unread, text(2 * unread_ms))
  end
end
