"""The room of the whole system: from the enrolment page to four services, in parts."""
