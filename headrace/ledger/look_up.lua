-- uses: clock
local use = unpack(KEYS)                             -- hash: what the cached answers take, and of what use they were
local prefix, process, lease_ms, flight_ms, ttl_ms = unpack(ARGV, 1, 5)   -- rest: sha, record of who would answer it ('' : looks only)
-- Of every question the answer, or `lead` (the caller answers it), `wait` (another one does, and is alive), `none`.
local found, hits, missing, keys, flights = { 'OK' }, 0, {}, {}, {}
for i = 6, #ARGV, 2 do keys[#keys + 1] = prefix .. ':cache:' .. ARGV[i] end
for n, value in ipairs(redis.call('MGET', unpack(keys))) do
  if value and #value > 4 then
    found[n + 1], hits = value, hits + 1
  else
    found[n + 1] = 'none'
    if ARGV[4 + 2 * n + 1] ~= '' then
      missing[#missing + 1] = n
      flights[#flights + 1] = prefix .. ':flight:' .. ARGV[4 + 2 * n]
    end
  end
end
if #missing > 0 then
  local led, taken, alive = false, {}, {}
  for m, known in ipairs(redis.call('MGET', unpack(flights))) do
    local n, flight = missing[m], flights[m]
    local record = ARGV[4 + 2 * n + 1]
    local own = process .. ' ' .. record
    known = taken[flight] or known
    local answer = 'lead'                            -- nobody's; or of a process that is gone, or of an earlier attempt at this record
    if known == '-' then                             -- its last answer was none that can be given to others
      answer = 'none'
    elseif known and known ~= own then
      local whose, what = string.match(known, '^(%S+) (%S+)$')
      if whose and alive[whose] == nil then alive[whose] = redis.call('EXISTS', prefix .. ':caller:' .. whose) == 1 or whose == process end
      if what ~= record and whose and alive[whose] then answer = 'wait' end
    end
    if answer == 'lead' then
      redis.call('SET', flight, own, 'PX', flight_ms)
      taken[flight], led = own, true
    end
    found[n + 1] = answer
  end
  if led then redis.call('SET', prefix .. ':caller:' .. process, '1', 'PX', lease_ms) end
end
if hits > 0 then
  redis.call('HINCRBY', use, 'hits', hits)
  redis.call('PEXPIRE', use, ttl_ms)
end
return found
