"""The live view: what each service has received, as it happens.

Only for one machine: it shows personal data to anyone who opens the page, and binds to 127.0.0.1.
"""
