"""Idempotency marks in Redis: a key for each event, changed by atomic scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from messaging.errors import ConfigurationError
from messaging.redis_client import OnRedis
from messaging.stores import Claim, Done, InProgress

__all__ = ["KEEP", "RedisStore"]

KEEP = 30 * 86_400.0
"""Seconds. SQS keeps a message for 14 days, and its dead-letter queue for 14 more.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""

SILENCE_SECONDS = 5.0
"""Seconds. A handler waits for Redis, which normally answers in less than a millisecond."""

_DOES = "refused the mark of an event"
# The scripts return numbers, because text would be bytes or str depending on the client. A token is
# hexadecimal.
_BEGIN = """
local known = redis.call('GET', KEYS[1])
if not known then
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    return -2
end
if known == ARGV[1] then return -2 end
if known == 'done' then return -1 end
return math.max(0, redis.call('PTTL', KEYS[1]))
"""
_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_COMPLETE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], 'done', 'PX', ARGV[2])
return 1
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class RedisStore(OnRedis):
    """Idempotency marks in Redis: for any number of machines, fast, and as durable as that Redis.

    If Redis evicts keys, or fails over before a write is replicated, a mark is lost, and the event
    is handled again if it is redelivered: use `maxmemory-policy noeviction` and an append-only
    file. An expired claim can no longer be completed: Redis has removed it.

    Args:
        client: a URL ("redis://cache:6379/0"), or your own `redis.Redis`.
        prefix: put before the keys.
        keep: seconds for which a mark is kept.
        timeout: seconds that one command may take.

    Raises:
        ConfigurationError: if `keep` or `timeout` is not above 0.
        TransportError: by each method, if Redis does not answer, after the client's own attempts.

    Example:
        ```python
        from messaging.idempotency import Idempotency, RedisStore

        store = RedisStore(redis_url)
        once = Idempotency(store)  # Worker(..., middleware=[once])
        store.close()
        ```
    """

    def __init__(
        self,
        client: str | Any,
        *,
        prefix: str = "handled/",
        keep: float = KEEP,
        timeout: float = SILENCE_SECONDS,
    ) -> None:
        if keep <= 0:
            raise ConfigurationError(f"RedisStore(keep={keep!r}): more than 0 seconds")
        super().__init__(client, prefix, timeout)
        self._keep = keep
        self._begin, self._renew, self._complete, self._release = (
            self._client.register_script(script) for script in (_BEGIN, _RENEW, _COMPLETE, _RELEASE)
        )

    def begin(
        self, service: str, event_id: str, *, lease_seconds: float
    ) -> Claim | InProgress | Done:
        """See `IdempotencyStore.begin`."""
        claim = Claim(service=service, event_id=event_id, token=uuid4().hex)
        return _answer(self._run(self._begin, claim, lease_seconds), claim)

    def begin_many(
        self, service: str, event_ids: Sequence[str], *, lease_seconds: float
    ) -> Sequence[Claim | InProgress | Done]:
        """See `ManyAtOnce.begin_many`."""
        claims = [
            Claim(service=service, event_id=event_id, token=uuid4().hex) for event_id in event_ids
        ]
        found = self._run_all(self._begin, claims, lease_seconds)
        return [_answer(one, claim) for one, claim in zip(found, claims, strict=True)]

    def complete_many(self, claims: Sequence[Claim]) -> Sequence[bool]:
        """See `ManyAtOnce.complete_many`."""
        return [one == 1 for one in self._run_all(self._complete, claims, self._keep)]

    def renew(self, claim: Claim, *, lease_seconds: float) -> bool:
        """See `IdempotencyStore.renew`."""
        return self._run(self._renew, claim, lease_seconds) == 1

    def complete(self, claim: Claim) -> bool:
        """See `IdempotencyStore.complete`."""
        return self._run(self._complete, claim, self._keep) == 1

    def release(self, claim: Claim) -> bool:
        """See `IdempotencyStore.release`."""
        return self._run(self._release, claim) == 1

    def prune(self, older_than: float) -> int:
        """Return 0: Redis forgets by itself, after `keep`.

        Args:
            older_than: ignored.
        """
        return 0

    def _run(self, script: Any, claim: Claim, *seconds: float) -> int:
        return int(self._asked(_DOES, lambda: self._call(script, self._client, claim, seconds)))

    def _run_all(self, script: Any, claims: Sequence[Claim], *seconds: float) -> list[int]:
        """Run it for several events in one round trip, after one that loads the script."""

        def asked() -> Any:
            with self._client.pipeline(transaction=False) as pipe:
                for claim in claims:
                    self._call(script, pipe, claim, seconds)
                return pipe.execute()

        return [int(one) for one in self._asked(_DOES, asked)]

    def _call(self, script: Any, client: Any, claim: Claim, seconds: Sequence[float]) -> Any:
        key = f"{self._prefix}{claim.service}/{claim.event_id}"
        arguments: Sequence[str | int] = [claim.token, *(max(1, int(s * 1000)) for s in seconds)]
        return script(keys=[key], args=arguments, client=client)


def _answer(found: int, claim: Claim) -> Claim | InProgress | Done:
    if found == -2:
        return claim
    return Done() if found == -1 else InProgress(found / 1000)
