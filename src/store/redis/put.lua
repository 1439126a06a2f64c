-- KEYS: the slot. ARGV: digest, entry, names, expires, as_of (2), received, most variants, now, longest life in ms, epoch of as_of.
local digest, expires = ARGV[1], tonumber(ARGV[4])
local millis, number, received = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local most, now, longest = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local epoch = tonumber(ARGV[11])

-- What is not a slot of ours gives way.
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end
local known = {}
local index = redis.call('HGET', KEYS[1], 'v')
if index then
  local fine, unpacked = pcall(cmsgpack.unpack, index)
  fine = fine and type(unpacked) == 'table'
  if fine then
    for _, old in ipairs(unpacked) do
      fine = fine and type(old) == 'table' and type(old[1]) == 'string' and type(old[3]) == 'number'
        and type(old[4]) == 'table' and type(old[4][1]) == 'number' and type(old[4][2]) == 'number'
        and type(old[5]) == 'number'
    end
  end
  if fine then known = unpacked else redis.call('DEL', KEYS[1]) end
elseif redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('DEL', KEYS[1])
end

local kept = {}
for _, old in ipairs(known) do
  if old[1] == digest then
    -- Marks of two epochs are in no order: the last one written stays.
    local later = old[4][1] > millis or (old[4][1] == millis and old[4][2] > number)
    if old[6] == epoch and later then return 0 end
  elseif old[3] > now then
    kept[#kept + 1] = old
  else
    redis.call('HDEL', KEYS[1], old[1])
  end
end
table.sort(kept, function(a, b) return a[5] > b[5] end)
while #kept >= most and #kept > 0 do
  redis.call('HDEL', KEYS[1], kept[#kept][1])
  kept[#kept] = nil
end
kept[#kept + 1] = { digest, ARGV[3], expires, { millis, number }, received, epoch }

local last = expires
for _, listed in ipairs(kept) do last = math.max(last, listed[3]) end
redis.call('HSET', KEYS[1], 'v', cmsgpack.pack(kept), digest, ARGV[2])
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.min(last - now, longest)))
return 1
