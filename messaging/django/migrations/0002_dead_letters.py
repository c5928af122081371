"""The permissions of the admin page of dead letters. No table is created or changed."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """A model without a table."""

    dependencies: ClassVar[list[Any]] = [("messaging", "0001_initial")]
    operations: ClassVar[list[Any]] = [
        migrations.CreateModel(
            name="DeadLetterPage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
            ],
            options={
                "verbose_name": "dead letter",
                "managed": False,
                "default_permissions": ("view",),
                "permissions": (
                    ("redrive_deadletterpage", "Can send dead letters back to their queue"),
                ),
            },
        ),
    ]
