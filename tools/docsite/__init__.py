"""How the documentation is built, in two languages, and what is checked of it."""
