-- What cannot be worked with is kept for a week, its first 4 KB of the newest thousand, and counted. An entry is
-- `<ms> <kind> <where> <why>`, a newline, and what it was.
local function keep_rejected(list, counts, now, kind, where, why, data)
  redis.pcall('LPUSH', list, text(now) .. ' ' .. kind .. ' ' .. where .. ' ' .. why .. '\n' .. string.sub(data, 1, 4096))
  redis.pcall('LTRIM', list, 0, 999)
  redis.pcall('PEXPIRE', list, 604800000)
  redis.pcall('HINCRBY', counts, kind, 1)
end
