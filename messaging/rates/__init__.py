"""Stores for a rate limit that all processes of a service share.

    class Biblioteca(Consumer):
        rate = RateLimit(50, shared=True)

    Worker(Biblioteca(), broker=connect(), rates=RedisRates("redis://cache:6379/0"))

or `MESSAGING_RATES=redis://cache:6379/0 messaging run ...`.
"""

from messaging.rates.memory import MemoryRates
from messaging.rates.opening import open_rates
from messaging.rates.postgres import PostgresRates
from messaging.rates.redis import RedisRates

__all__ = ["MemoryRates", "PostgresRates", "RedisRates", "open_rates"]
