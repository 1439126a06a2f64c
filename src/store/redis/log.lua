-- KEYS: the stream, its identity, the registry of instances. ARGV begins with the greatest mark that the caller knows.
-- All of them live this long after the last instance told of itself.
local LIFE = 30 * 24 * 3600 * 1000

local function number(value) return string.format('%.0f', value) end

local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function parts(id)
  local millis, count = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(millis), tonumber(count)
end

local function is_before(millis, count, other_millis, other_count)
  return millis < other_millis or (millis == other_millis and count < other_count)
end

-- Changes whenever the server starts: what it held may then be older than what it had promised.
local function run()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%w+)') or 'unknown'
end

-- What is not of ours gives way: the log begins anew then, and the instances register again.
local function clear(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= kind and found ~= 'none' then redis.call('DEL', key) end
end

local function renew()
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, LIFE) end
end

-- The id of the last record. A log that was lost, or that is older than what is known of it, begins anew with an id
-- greater than any that was ever given.
local function last()
  local found = redis.pcall('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
  local id = found[1] and found[1][1]
  local millis, count = tonumber(ARGV[1]), tonumber(ARGV[2])
  if id then
    local last_millis, last_count = parts(id)
    if not is_before(last_millis, last_count, millis, count) then
      if redis.call('HGET', KEYS[2], 'run') == run() then return id end
      millis, count = last_millis, last_count
    end
  end
  count = count + 1
  local clock = now()
  if clock > millis then millis, count = clock, 0 end
  redis.call('DEL', KEYS[1], KEYS[2])
  local start = redis.call('XADD', KEYS[1], number(millis) .. '-' .. number(count), 'start', '')
  redis.call('HSET', KEYS[2], 'run', run(), 'start', start)
  renew()
  return start
end

clear(KEYS[2], 'hash')
clear(KEYS[3], 'hash')
