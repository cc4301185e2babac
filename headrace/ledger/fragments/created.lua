-- A creation that was asked for before: the id that it has, or a refusal for another request under the same key. `created` holds
-- `<id> <digest of the request>`; `join` says that a request may be given what the one before it has made.
local function created_before(created, digest, join, record_prefix)
  local known = join == '1' and redis.call('GET', created)
  if not known then return nil end
  local id, asked = string.match(known, '^(%S+) (%S+)$')
  if not id or redis.call('EXISTS', record_prefix .. id) == 0 then return nil end
  if asked ~= digest then return { 'CONFLICT', id } end
  return { 'OK', id }
end
