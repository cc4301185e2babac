-- Sets the rows of a shard that are new (a row never changes), and moves the batch's counters by those alone.
-- A row is a kind byte and the final output line, or the kind in capitals and where in a segment file the line lies.
local KINDS = { s = 'succeeded', f = 'failed', c = 'cancelled', d = 'dead' }

local function set_rows(shard, rows, batch, held, first)
  local bytes, fresh = 0, 0
  for i = first, #ARGV, 3 do
    local index, row, counters = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    if redis.call('HSETNX', rows, index, row) == 1 then
      fresh = fresh + 1
      bytes = bytes + #row
      redis.call('HINCRBY', batch, KINDS[string.lower(string.sub(row, 1, 1))], 1)
      for name, value in string.gmatch(counters, '(%S+) (%d+)') do redis.call('HINCRBY', batch, name, value) end
    end
  end
  if bytes > 0 then
    redis.call('HINCRBY', shard, 'bytes', bytes)
    redis.call('INCRBY', held, bytes)
  end
  return fresh
end
