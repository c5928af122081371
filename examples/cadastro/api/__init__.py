"""The room of the API: takes a student, answers when it is sure that four services will hear."""
