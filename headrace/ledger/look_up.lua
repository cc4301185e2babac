-- uses: clock
local use = unpack(KEYS)                             -- hash: what the cached answers take, and of what use they were
local prefix, process, lease_ms, flight_ms, ttl_ms = unpack(ARGV, 1, 5)   -- rest: sha, record of who would answer it ('' : looks only)
-- Of every question the answer, or `lead` (the caller answers it), `wait` (another one does, and is alive), `none`.
local found, hits, led = { 'OK' }, 0, false
for i = 6, #ARGV, 2 do
  local sha, record = ARGV[i], ARGV[i + 1]
  local value = redis.pcall('GET', prefix .. ':cache:' .. sha)
  local answer = 'none'
  if type(value) == 'string' and #value > 4 then
    answer, hits = value, hits + 1
  elseif record ~= '' then
    local flight, own = prefix .. ':flight:' .. sha, process .. ' ' .. record
    local known = redis.call('GET', flight)
    local whose, what = string.match(known or '', '^(%S+) (%S+)$')
    if known == '-' then                             -- its last answer was none that can be given to others
      answer = 'none'
    elseif known and known ~= own and what ~= record and redis.call('EXISTS', prefix .. ':caller:' .. (whose or '')) == 1 then
      answer = 'wait'
    else                                             -- nobody's; or of a process that is gone, or of an earlier attempt at this record
      redis.call('SET', flight, own, 'PX', flight_ms)
      answer, led = 'lead', true
    end
  end
  found[#found + 1] = answer
end
if led then redis.call('SET', prefix .. ':caller:' .. process, '1', 'PX', lease_ms) end
if hits > 0 then
  redis.call('HINCRBY', use, 'hits', hits)
  redis.call('PEXPIRE', use, ttl_ms)
end
return found
