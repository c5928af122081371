"""The settings of the example. DATABASE names the database: sqlite:///file, or postgresql://."""

import os
from typing import Any
from urllib.parse import parse_qs, urlsplit


def database(url: str) -> dict[str, Any]:
    """Django's settings for the database at `url`."""
    if url.startswith("sqlite:///"):
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": url.removeprefix("sqlite:///"),
            # Several processes write: each waits for the others from the start of its transaction.
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode = WAL",
            },
        }
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.removeprefix("/"),
        "USER": parts.username or "",
        "PASSWORD": parts.password or "",
        "HOST": parts.hostname or parse_qs(parts.query).get("host", [""])[0],
        "PORT": parts.port or "",
        # With 0, the default, each handler would open a new connection.
        "CONN_MAX_AGE": int(os.environ.get("ESCOLA_CONN_MAX_AGE", "60")),
        "CONN_HEALTH_CHECKS": os.environ.get("ESCOLA_CONN_HEALTH_CHECKS") == "1",
    }


SECRET_KEY = os.environ.get("SECRET_KEY", "only for this example")
DEBUG = os.environ.get("DEBUG") == "1"
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
DATABASES = {"default": database(os.environ.get("DATABASE", "sqlite:///escola.sqlite3"))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "escola",
    "messaging.django",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "escola.urls"
USE_TZ = True
TIME_ZONE = "America/Sao_Paulo"

MESSAGING = {
    "TOPOLOGY": "escola.servicos:TOPOLOGY",
    "SOURCE": "/secretaria",
    "EVENT": "escola.eventos:AlunoMatriculado",
    "MIDDLEWARE": os.environ.get("ESCOLA_MIDDLEWARE", "escola.servicos:UMA_VEZ").split(),
}
