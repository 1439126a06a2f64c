-- KEYS: the slot. ARGV: digest, and of the variant that was judged: as_of (2), its epoch, received.
-- Removes that very variant; one that was written meanwhile stays. Returns how many were removed.
local index = redis.call('TYPE', KEYS[1]).ok == 'hash' and redis.call('HGET', KEYS[1], 'v')
local fine, listed = pcall(cmsgpack.unpack, index or '')
if not fine or type(listed) ~= 'table' then return 0 end

local kept, removed = {}, 0
for _, one in ipairs(listed) do
  local as_of = type(one) == 'table' and type(one[4]) == 'table' and one[4]
  local is_it = as_of and one[1] == ARGV[1] and as_of[1] == tonumber(ARGV[2]) and as_of[2] == tonumber(ARGV[3])
    and (one[6] or 0) == tonumber(ARGV[4]) and one[5] == tonumber(ARGV[5])
  if is_it then removed = removed + 1 else kept[#kept + 1] = one end
end
if removed == 0 then return 0 end
if #kept == 0 then
  redis.call('UNLINK', KEYS[1])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('HSET', KEYS[1], 'v', cmsgpack.pack(kept))
end
return removed
