-- A file that callers see by its id: the record, and its places in the indexes by the time of its creation and of its expiry.
local function add_file(prefix, tenant, id, now, expires_s, fields)
  local file = prefix .. ':file:' .. id
  redis.call('HSET', file, 'tenant', tenant, 'created', text(now), unpack(fields))
  redis.call('ZADD', prefix .. ':files:' .. tenant, text(now), id)
  if expires_s and expires_s ~= '' then
    local expires = text(now + 1000 * tonumber(expires_s))
    redis.call('HSET', file, 'expires', expires)
    redis.call('ZADD', prefix .. ':expiring', expires, id)
  end
end
