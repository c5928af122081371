"""The migrations of this app: they make the tables of the outbox and of the marks."""
