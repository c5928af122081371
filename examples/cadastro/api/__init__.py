"""The enrolment API: it answers once it is certain that the four services will be told."""
