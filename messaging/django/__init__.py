"""The Django app: outbox, handlers in Django's transactions, commands, checks and admin pages.

    INSTALLED_APPS += ["messaging.django"]
    MESSAGING = {"TOPOLOGY": "escola.servicos:TOPOLOGY", "SOURCE": "/secretaria"}

    with transaction.atomic():
        aluno = Aluno.objects.create(...)
        publish(AlunoMatriculado(...))          # sent by `manage.py messaging_relay`

Inside this package too, `import django` imports Django itself.
"""

from messaging.errors import MissingExtra

try:
    import django as _django  # noqa: F401 - only whether it is there
except ImportError as error:
    raise MissingExtra("messaging.django needs Django", "django") from error

from messaging.django.handling import CloseConnections, TransactionalAtomic
from messaging.django.publishing import outbox, publish
from messaging.django.setup import deployment

__all__ = ["CloseConnections", "TransactionalAtomic", "deployment", "outbox", "publish"]
