"""The migrations of this app, which create the tables of the outbox and of the marks."""
