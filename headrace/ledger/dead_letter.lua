-- uses: clock rejected
local rejected, rejections = unpack(KEYS)            -- list of what was set aside, hash kind -> count
local kind, where, why, data, token = unpack(ARGV)   -- token: in the entry, so that a call sent twice counts once
local why_once = why .. ' ' .. token
local last = redis.pcall('LINDEX', rejected, 0)
if type(last) == 'string' and string.find(last, ' ' .. why_once .. '\n', 1, true) then return { 'OK' } end
keep_rejected(rejected, rejections, now_ms(), kind, where, why_once, data)
return { 'OK' }
