"""A school in Django: a page that enrols, and the library's service."""
