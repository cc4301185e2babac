-- uses: clock events fence
local job, log = unpack(KEYS)                        -- hash, stream
local epoch, seq, event, channel = unpack(ARGV)      -- event: a snapshot, of all that has a smaller number in this attempt
local refused = refusal(job, epoch)
if refused then return refused end
-- No gap is refused: what may be missing before it is in it.
if tonumber(seq) > tonumber(redis.call('HGET', job, 'seq')) then
  put_event(log, channel, epoch .. '-' .. seq, event)
  redis.call('HSET', job, 'seq', seq)
end
redis.call('XTRIM', log, 'MINID', epoch .. '-' .. seq)
return { 'OK', redis.call('HGET', job, 'seq') }
