"""A school in Django: a page that enrols students, and the library's service."""
