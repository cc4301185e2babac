-- uses: clock events progress
local batch, refused, reasons, log = unpack(KEYS)    -- hash, string with a bit for each line, hash line -> why, stream
local channel, max_reasons = unpack(ARGV, 1, 2)      -- rest: line, why
local state, total, succeeded = unpack(redis.call('HMGET', batch, 'state', 'total', 'succeeded'))
if not state then return { 'UNKNOWN' } end
-- First what is new, so that a call is refused whole: a line that was refused is so for good, by whomever and how often.
local fresh, seen = {}, {}
for i = 3, #ARGV, 2 do
  local line = tonumber(ARGV[i])
  if not line or line < 0 or line >= tonumber(total) then return { 'GAP', ARGV[i] } end
  if not seen[line] and redis.call('GETBIT', refused, line) == 0 then fresh[#fresh + 1] = i end
  seen[line] = true
end
if #fresh > tonumber(succeeded) then return { 'GAP', text(#fresh) } end
if #fresh == 0 then return { 'OK', 0 } end
local room = tonumber(max_reasons) - redis.call('HLEN', reasons)
for n, i in ipairs(fresh) do
  redis.call('SETBIT', refused, ARGV[i], 1)
  if n <= room then redis.call('HSET', reasons, ARGV[i], ARGV[i + 1]) end
end
redis.call('HINCRBY', batch, 'succeeded', -#fresh)
for _, counter in ipairs({ 'failed', 'code:invalid_output', 'refused' }) do redis.call('HINCRBY', batch, counter, #fresh) end
local left_ms = redis.call('PTTL', batch)
if left_ms > 0 then                                  -- it has closed: what is said of it goes when it goes, and its log is whole
  for _, key in ipairs({ refused, reasons }) do redis.call('PEXPIRE', key, left_ms) end
else
  report(batch, log, channel, now_ms(), 'batch.progress', false)
end
return { 'OK', #fresh }
