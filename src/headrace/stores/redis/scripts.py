"""What the Redis server does in one go, in its own language.

Names behind the prefix: `<entry key>` is a page, `usage` the pages by last use (ms since 1970), `sizes` the
bytes that each counts for and their `total`, `holders` who has which layout open until when, `held:<layout>`
the entries of a layout, `claim:<entry key>` who computes an entry.
"""

from __future__ import annotations

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function number(text) return tonumber(text or '0') or 0 end
local function text(value) return string.format('%.0f', value) end
"""

ADMIT = (
    _NOW
    + """
-- A page was just set: count it, and remove others that nobody has open. If they do not suffice, it goes.
local page, usage, sizes, holders = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local prefix, name, cost, limit = ARGV[1], ARGV[2], number(ARGV[3]), number(ARGV[4])
local total = number(redis.call('HGET', sizes, 'total')) - number(redis.call('HGET', sizes, name)) + cost
local chosen = {}
if limit > 0 and total > limit then
    local known, costs, used, names, held = redis.call('HGETALL', sizes), {}, {}, {}, {}
    total = cost
    for i = 1, #known, 2 do
        local each = known[i]
        if each ~= 'total' and each ~= name then
            costs[each] = number(known[i + 1])
            used[each] = number(redis.call('ZSCORE', usage, each))
            total = total + costs[each]
            table.insert(names, each)
        end
    end
    table.sort(names, function(a, b)
        if used[a] == used[b] then return a < b end
        return used[a] < used[b]
    end)
    redis.call('ZREMRANGEBYSCORE', holders, '-inf', now)
    for _, holder in ipairs(redis.call('ZRANGE', holders, 0, -1)) do
        held[prefix .. 'held:' .. string.sub(holder, 1, 32)] = true
    end
    local function is_held(each)
        for set in pairs(held) do
            if redis.call('SISMEMBER', set, each) == 1 then return true end
        end
        return false
    end
    local before = total
    for _, each in ipairs(names) do
        if total <= limit then break end
        if not is_held(each) then
            table.insert(chosen, each)
            total = total - costs[each]
        end
    end
    if total > limit then
        redis.call('UNLINK', page)
        redis.call('HDEL', sizes, name)
        redis.call('ZREM', usage, name)
        redis.call('HSET', sizes, 'total', text(before - cost))
        return {0, 0}
    end
    for _, each in ipairs(chosen) do
        redis.call('UNLINK', prefix .. each)
        redis.call('HDEL', sizes, each)
        redis.call('ZREM', usage, each)
    end
end
redis.call('HSET', sizes, name, text(cost), 'total', text(total))
redis.call('ZADD', usage, now, name)
return {1, #chosen}
"""
)

TOUCH = (
    _NOW
    + """
-- A page was read: note when. What is counted and gone, or there and not counted, is put right.
local page, usage, sizes = KEYS[1], KEYS[2], KEYS[3]
local name, overhead = ARGV[1], number(ARGV[2])
local known = redis.call('HGET', sizes, name)
local total = number(redis.call('HGET', sizes, 'total'))
if redis.call('EXISTS', page) == 0 then
    if known then
        redis.call('HDEL', sizes, name)
        redis.call('ZREM', usage, name)
        redis.call('HSET', sizes, 'total', text(total - number(known)))
    end
    return 0
end
if not known then
    local cost = redis.call('STRLEN', page) + overhead
    redis.call('HSET', sizes, name, text(cost), 'total', text(total + cost))
end
redis.call('ZADD', usage, now, name)
return 1
"""
)

HOLD = (
    _NOW
    + """
-- Say for how long a layout is in use; answers whether its entries must be named again.
local holders, held = KEYS[1], KEYS[2]
redis.call('ZADD', holders, now + number(ARGV[2]), ARGV[1])
return redis.call('PEXPIRE', held, number(ARGV[2]))
"""
)

RENEW = """
-- Go on holding a claim, unless it has become another's.
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""

RELEASE = """
-- Let go of a claim, unless it has become another's.
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
