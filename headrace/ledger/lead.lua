local leader = unpack(KEYS)                          -- string: the process that does the maintenance
local process, lease_ms = unpack(ARGV)
local holder = redis.call('GET', leader)
if holder and holder ~= process then return { 'BUSY', holder } end
redis.call('SET', leader, process, 'PX', lease_ms)
return { 'OK' }
