-- KEYS: the stream, its identity, the registry of instances.
-- ARGV begins with the last mark that the caller knows of (epoch, millis, count), an epoch for a log that begins now,
-- and the length of a lease in ms.
-- All keys live this long after the last instance told of itself.
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

-- A log begins, after all that is known to have been given. Whoever follows the one that was lost may be live and not
-- have noticed yet; until its lease must be over, it is among the instances as one that has applied nothing.
local function begin(millis, count)
  local clock = now()
  if clock > millis then millis, count = clock, 0 else count = count + 1 end
  redis.call('DEL', KEYS[1], KEYS[2])
  local start = redis.call('XADD', KEYS[1], number(millis) .. '-' .. number(count), 'start', '')
  redis.call('HSET', KEYS[2], 'run', run(), 'epoch', ARGV[4], 'beginning', start, 'first', start)
  redis.call('HSET', KEYS[3], 'before-' .. start, '0-0 ' .. number(clock + tonumber(ARGV[5])))
  renew()
  return start, ARGV[4]
end

-- Whether the log that ends with these is the one that the caller knows, or one that the caller is to learn of.
local function is_whole(epoch, last_millis, last_count)
  if not epoch or redis.call('HGET', KEYS[2], 'run') ~= run() then return false end
  if epoch ~= ARGV[1] then return true end
  -- What the caller remembers is there, or was trimmed. A server that came back with older data may have given the
  -- marks after that to others.
  local millis, count = tonumber(ARGV[2]), tonumber(ARGV[3])
  if is_before(last_millis, last_count, millis, count) then return false end
  local known = ARGV[2] .. '-' .. ARGV[3]
  if #redis.call('XRANGE', KEYS[1], known, known) > 0 then return true end
  local first_millis, first_count = parts(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1])
  return is_before(millis, count, first_millis, first_count)
end

-- The id of the last record, and the log's epoch. A log that was lost, or of which the end was lost, begins anew.
local function last()
  local found = redis.pcall('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
  local id = found[1] and found[1][1]
  if not id then return begin(tonumber(ARGV[2]), tonumber(ARGV[3])) end
  local epoch = redis.call('HGET', KEYS[2], 'epoch')
  local millis, count = parts(id)
  if is_whole(epoch, millis, count) then return id, epoch end
  return begin(millis, count)
end

-- The id of the newest record that is too many or too old, if there is one. Few are looked at in one go.
local function superfluous(most, longest)
  local STEP = 100
  local gone
  local excess = redis.call('XLEN', KEYS[1]) - most
  if excess >= STEP then
    local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', math.min(excess, 10 * STEP))
    gone = oldest[#oldest][1]
  end
  local limit = '(' .. number(math.max(now() - longest, 0)) .. '-0'
  local old = redis.call('XREVRANGE', KEYS[1], limit, '-', 'COUNT', 1)[1]
  if old and gone then
    local millis, count = parts(gone)
    local old_millis, old_count = parts(old[1])
    if is_before(millis, count, old_millis, old_count) then gone = old[1] end
  end
  return gone or old and old[1]
end

-- Forgets records but the last one. The log then begins at the last one that is gone: nothing that is gone speaks of
-- what is not older.
local function trim(most, longest, last_id)
  local gone = superfluous(most, longest)
  if not gone or gone == last_id then return end
  local millis, count = parts(gone)
  redis.call('XTRIM', KEYS[1], 'MINID', number(millis) .. '-' .. number(count + 1))
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1]
  redis.call('HSET', KEYS[2], 'beginning', gone, 'first', first)
end

-- The first record, and where the log begins; the latter is not known where somebody else trimmed it.
local function beginning()
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1]
  local told = redis.call('HMGET', KEYS[2], 'beginning', 'first')
  return first, first == told[2] and told[1] or ''
end

clear(KEYS[2], 'hash')
clear(KEYS[3], 'hash')
