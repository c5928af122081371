"""The enrolment API: it answers once it is certain that the four services will get the event."""
