"""Opens connections to Redis, with time limits, and tells its errors."""

from __future__ import annotations

from typing import Any

from messaging.errors import ConfigurationError, MissingExtra

__all__ = ["is_redis_error", "open_redis"]


def open_redis(url: str, *, timeout: float, who: str, attempts: int | None = None) -> Any:
    """A `redis.Redis` for `url`, which connects when it is first used.

    timeout   seconds for which Redis may be silent, in each attempt; the URL's own socket_timeout
              and socket_connect_timeout come first.
    who       the class that needs it, for the error.
    attempts  how often a command is sent at most; None: as often as the client likes.

    Raises `ConfigurationError`, which does not quote the URL: it may hold a password; and
    `MissingExtra` where the package redis is not installed.
    """
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise MissingExtra(
            f"{who} needs the package redis, which is not installed; "
            'run: pip install "messaging-sns-sqs[redis]"'
        ) from error
    more: dict[str, Any] = (
        {} if attempts is None else {"retry": Retry(NoBackoff(), max(0, attempts - 1))}
    )
    try:
        return redis.Redis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=timeout, **more
        )
    except ValueError:
        raise ConfigurationError(
            "the URL of Redis cannot be read: write redis://host:6379/0; in a password write "
            '"%2F" for "/", "%3A" for ":", "%40" for "@" (it is not shown)'
        ) from None


def is_redis_error(error: Exception) -> bool:
    """Whether the client raised it."""
    return any(one.__name__ == "RedisError" for one in type(error).__mro__)
