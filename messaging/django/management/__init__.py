"""The app's additions to manage.py."""
