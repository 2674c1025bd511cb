-- Applies one request of a replica, and returns the entries.
--
-- KEYS: the hash of the entries, then the keys of the leases to give back, then those of the leases to take.
--
-- ARGV: the version that the caller has. Then the writes, the leases to give back and the leases to take, each as their number
-- and their items. `invocation` in `store.rs` writes them.
--
-- Returns the version; for each lease to take, 1 if it was granted, or else 0; and the entries, unless the caller has this
-- version.

local entries = KEYS[1]
local MOST_ENTRIES = 20000
-- The version is a field of the hash, so that both are lost together. Keys of entries contain a slash, so none is equal to it.
local VERSION = 'version'

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local position = 0
local function argument()
  position = position + 1
  return ARGV[position]
end

-- Parses an entry: its deadline, its token and its value, separated by spaces. Returns nothing if it cannot be read.
local function parse(entry)
  local deadline, token, value = string.match(entry or '', '^(%d+) (%x+) (.*)$')
  return tonumber(deadline), token, value
end

-- Removes entries that have ended or cannot be read, and returns the others.
local function clean()
  local found = {}
  local all = redis.call('HGETALL', entries)
  for index = 1, #all, 2 do
    local key = all[index]
    local deadline, token, value = parse(all[index + 1])
    if deadline and deadline > now then
      found[#found + 1] = { key, deadline - now, token, value }
    elseif key ~= VERSION then
      redis.call('HDEL', entries, key)
    end
  end
  return found
end

local known_version = argument()
local has_changed = false
if redis.call('HLEN', entries) >= MOST_ENTRIES then
  clean()
end

for _ = 1, tonumber(argument()) do
  local key, rule, token, ttl, value = argument(), argument(), argument(), tonumber(argument()), argument()
  local deadline, held_token = parse(redis.call('HGET', entries, key))
  local is_held = deadline and deadline > now
  if rule == 'remove' then
    if is_held and held_token == token then
      redis.call('HDEL', entries, key)
      has_changed = true
    end
  elseif ttl > 0
    and not (rule == 'extend' and is_held and deadline >= now + ttl)
    and (deadline or redis.call('HLEN', entries) < MOST_ENTRIES)
  then
    if rule == 'extend' and is_held then
      token = held_token
    end
    redis.call('HSET', entries, key, string.format('%d ', now + ttl) .. token .. ' ' .. value)
    if redis.call('PTTL', entries) < ttl then
      redis.call('PEXPIRE', entries, ttl)
    end
    has_changed = true
  end
end

local lease = 1
for _ = 1, tonumber(argument()) do
  lease = lease + 1
  if redis.call('GET', KEYS[lease]) == argument() then
    redis.call('DEL', KEYS[lease])
  end
end

local granted = {}
for index = 1, tonumber(argument()) do
  lease = lease + 1
  local holder, ttl = argument(), argument()
  if redis.call('SET', KEYS[lease], holder, 'NX', 'PX', ttl) then
    granted[index] = 1
  elseif redis.call('GET', KEYS[lease]) == holder then
    redis.call('PEXPIRE', KEYS[lease], ttl)
    granted[index] = 1
  else
    granted[index] = 0
  end
end

if has_changed then
  -- The version is the time. A count would begin again after a flush.
  redis.call('HSET', entries, VERSION, time[1] .. string.format('%06d', time[2]))
end
local version = redis.call('HGET', entries, VERSION) or 'none'
if version == known_version then
  return { version, granted }
end
return { version, granted, clean() }
