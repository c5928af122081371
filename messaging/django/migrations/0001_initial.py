"""Creates the two tables with the library's own statements."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations, models

from messaging.django.fields import MomentField
from messaging.django.tables import create, drop


class Migration(migrations.Migration):
    """`SeparateDatabaseAndState`: the models omit columns that nobody should read."""

    initial = True
    dependencies: ClassVar[list[Any]] = []
    operations: ClassVar[list[Any]] = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(create, drop)],
            state_operations=[
                migrations.CreateModel(
                    name="OutboxEntry",
                    fields=[
                        ("seq", models.BigAutoField(primary_key=True, serialize=False)),
                        ("event_id", models.TextField(db_column="id")),
                        ("size", models.IntegerField(help_text="bytes")),
                        ("created", MomentField()),
                        ("free_at", MomentField(verbose_name="not before")),
                        ("holder", models.TextField(null=True, verbose_name="in the hands of")),
                        ("attempts", models.IntegerField(verbose_name="failed attempts")),
                        ("error", models.TextField(null=True)),
                        ("published_at", MomentField(null=True, verbose_name="published")),
                        ("parked_at", MomentField(null=True, verbose_name="parked")),
                    ],
                    options={
                        "db_table": "messaging_outbox",
                        "default_permissions": ("view",),
                        "ordering": ("-seq",),
                        "verbose_name": "outbox entry",
                        "verbose_name_plural": "outbox",
                    },
                ),
                migrations.CreateModel(
                    name="HandledEvent",
                    fields=[
                        ("event_id", models.TextField(primary_key=True, serialize=False)),
                        ("service", models.TextField()),
                        ("handled_at", MomentField(null=True)),
                        ("until", MomentField(null=True, verbose_name="claimed until")),
                    ],
                    options={
                        "db_table": "messaging_handled",
                        "default_permissions": ("view",),
                        "ordering": ("event_id",),
                        "verbose_name": "handled event",
                    },
                ),
            ],
        )
    ]
