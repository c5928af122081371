"""SQL databases: drivers, dialects, opening and pooling, shared by `outbox` and `idempotency`."""
