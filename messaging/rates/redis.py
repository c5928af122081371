"""Shared rates in Redis: a time and a set of members for each queue, changed by scripts."""

from __future__ import annotations

from typing import Any

from messaging.redis_client import OnRedis
from messaging.stores import MEMBER_SECONDS, Reservation

__all__ = ["RedisRates"]

SILENCE_SECONDS = 2.0
"""Seconds. Meanwhile the process uses its remaining tokens; then it continues at its share."""

# Numbers are passed as text, because Redis truncates numbers that a script returns. A bucket that
# is full again because nothing used it is deleted.
_RESERVE = f"""
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local cost, saved, ahead = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - {MEMBER_SECONDS})
redis.call('EXPIRE', KEYS[2], {int(MEMBER_SECONDS) + 1})
local members = redis.call('ZCARD', KEYS[2])
local till = tonumber(redis.call('GET', KEYS[1]) or '0')
till = math.max(math.min(till, now + members * ahead), now - saved) + cost
redis.call('SET', KEYS[1], string.format('%.6f', till), 'EX',
    math.ceil(math.max(0, till - now) + saved) + {int(MEMBER_SECONDS) + 1})
return {{string.format('%.6f', till - now), members}}
"""
_LEAVE = """
redis.call('ZREM', KEYS[2], ARGV[1])
local till = redis.call('GET', KEYS[1])
if till then
    redis.call('SET', KEYS[1], string.format('%.6f', tonumber(till) - tonumber(ARGV[2])), 'KEEPTTL')
end
return 0
"""


class RedisRates(OnRedis):
    """A `RateStore` in Redis 6 or later. Needs the extra `redis`.

    If Redis loses its data (a restart without persistence, an eviction), it starts with a full
    bucket.

    Args:
        client: a URL ("redis://cache:6379/0"), or your own `redis.Redis`.
        prefix: put before the keys.
        timeout: seconds that one command may take.

    Raises:
        ConfigurationError: if `timeout` is not above 0.

    Example:
        ```python
        from messaging.rates.redis import RedisRates

        rates = RedisRates(redis_url)  # Worker(..., rates=rates)
        rates.close()
        ```
    """

    def __init__(
        self, client: str | Any, *, prefix: str = "rate/", timeout: float = SILENCE_SECONDS
    ) -> None:
        super().__init__(client, prefix, timeout, attempts=2)
        self._reserve, self._leave = map(self._client.register_script, (_RESERVE, _LEAVE))

    def reserve(
        self, queue: str, member: str, cost: float, *, saved: float, ahead: float
    ) -> Reservation:
        """See `RateStore.reserve`."""
        seconds, members = self._run(self._reserve, queue, member, cost, saved, ahead)
        return Reservation(float(seconds), int(members))

    def leave(self, queue: str, member: str, cost: float) -> None:
        """See `RateStore.leave`."""
        self._run(self._leave, queue, member, cost)

    def _run(self, script: Any, queue: str, member: str, *seconds: float) -> Any:
        key = f"{self._prefix}{{{queue}}}"
        arguments = [member, *(f"{one:.6f}" for one in seconds)]
        return self._asked(
            "did not take a rate", lambda: script(keys=[key, f"{key}/members"], args=arguments)
        )
