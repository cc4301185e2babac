-- uses: clock events fence
local job, log = unpack(KEYS)                        -- hash, stream
local epoch, first_seq, channel = unpack(ARGV, 1, 3) -- rest: events, JSON; the first has number first_seq
local refused = refusal(job, epoch)
if refused then return refused end
local seq = tonumber(redis.call('HGET', job, 'seq'))
if tonumber(first_seq) > seq + 1 then return { 'GAP', text(seq + 1) } end
for i = 4, #ARGV do
  local number = first_seq + i - 4
  if number == seq + 1 then                          -- what is stored already was sent twice: skip it
    put_event(log, channel, epoch .. '-' .. text(number), ARGV[i])
    seq = number
  end
end
redis.call('HSET', job, 'seq', text(seq))
return { 'OK', text(seq), redis.call('HGET', job, 'cancel') or '' }
