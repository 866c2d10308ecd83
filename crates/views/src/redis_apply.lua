-- Applies one batch to a view, or nothing. Runs as one unit inside Redis.
-- KEYS: position, sources, tenants, eight indexes, then one record per update.
-- ARGV: source, owner epoch, next offset, watermark, observed, applied; then eight values per update:
--       index number, tenant, part, event time, document, listing operation, index entry, listing time.
-- Numbers are 20 digits, so they compare as text. The position is written last: should the script fail half way, the batch is
-- applied again.
local owner_epoch = redis.call('HGET', KEYS[1], 'owner_epoch')
local next_offset = redis.call('HGET', KEYS[1], 'next_offset')
if owner_epoch and ARGV[2] < owner_epoch then
  return {'fenced', owner_epoch}
end
if next_offset and ARGV[3] <= next_offset then
  if ARGV[2] > owner_epoch then
    redis.call('HSET', KEYS[1], 'owner_epoch', ARGV[2])
  end
  return {'already', next_offset}
end

local flags = {}
local at = 7
for update = 12, #KEYS do
  local record = KEYS[update]
  local index, tenant, part, observed = KEYS[4 + tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local document, operation, entry, listing_ms = ARGV[at + 4], ARGV[at + 5], ARGV[at + 6], ARGV[at + 7]
  at = at + 8
  local stored = redis.call('HMGET', record, part .. '_ms', 'listed', 'listed_ms')
  if stored[1] and observed < stored[1] then
    flags[#flags + 1] = '0'
  else
    flags[#flags + 1] = '1'
    redis.call('SADD', KEYS[3], tenant)
    redis.call('HSET', record, part .. '_ms', observed)
    if document == '' then
      redis.call('HDEL', record, part)
    else
      redis.call('HSET', record, part, document)
    end

    -- The same rule as `listing::relist`.
    local listed, listed_ms = stored[2], stored[3]
    local newest = not listed_ms or listing_ms >= listed_ms
    local now, now_ms
    if operation == 'list' and newest then
      now, now_ms = entry, listing_ms
    elseif operation == 'unlist' and newest then
      now, now_ms = '', listing_ms
    elseif operation == 'if_absent' and not listed_ms then
      now, now_ms = entry, string.rep('0', 20)
    elseif operation == 'if_absent' and listed == '' and newest then
      now, now_ms = entry, listed_ms
    end
    if now then
      if listed and listed ~= '' and listed ~= now then
        redis.call('ZREM', index, listed)
      end
      if now ~= '' then
        redis.call('ZADD', index, 0, now)
      end
      redis.call('HSET', record, 'listed', now, 'listed_ms', now_ms)
    end
  end
end

local function latest(field, value)
  local stored = redis.call('HGET', KEYS[1], field)
  if value ~= '' and (not stored or value > stored) then
    redis.call('HSET', KEYS[1], field, value)
  end
end
redis.call('SADD', KEYS[2], ARGV[1])
latest('watermark_ms', ARGV[4])
latest('observed_ms', ARGV[5])
redis.call('HSET', KEYS[1], 'owner_epoch', ARGV[2], 'next_offset', ARGV[3], 'applied_ms', ARGV[6])
return {'applied', table.concat(flags)}
