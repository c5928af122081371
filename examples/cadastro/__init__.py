"""A whole system, from the enrolment page to the four services."""
