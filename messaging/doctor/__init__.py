"""Checks the resources on the broker, and reports what would go wrong, with the remedy.

for found in examine(TOPOLOGY, Settings.from_environment()):
    print(found.severity, found.where, found.said, found.remedy)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from messaging.connecting import names_rabbitmq
from messaging.doctor.kinds import KINDS, Diagnosis, Kind, Severity
from messaging.settings import Settings
from messaging.topology import Topology

__all__ = ["KINDS", "Diagnosis", "Kind", "Severity", "examine", "not_told"]


def examine(topology: Topology, settings: Settings, *, session: Any = None) -> Iterator[Diagnosis]:
    """Find everything that would go wrong with `topology` on the broker of `settings`.

    Changes nothing, and finds nothing if all is well. A resource that may not be inspected is a
    finding, too, and the others are still checked. `session` is for AWS only.

    Args:
        topology: the desired topic, queues and subscriptions.
        settings: endpoint and names; by default `Settings.from_environment()`.
        session: a `boto3.Session` with its own credentials; by default boto3 finds them as usual.

    Raises:
        SettingsError: if the settings contradict the topology, or name no region.

    Example:
        ```python
        from messaging.doctor import examine

        for found in examine(topology, local.settings(topic="alunos", prefix="doctor-")):
            print(found.severity, found.name, found.where, found.remedy)
        ```
    """
    if names_rabbitmq(settings):
        from messaging.doctor import rabbitmq

        return rabbitmq.examine(topology, settings)
    from messaging.doctor.examination import examine as examine_aws

    return examine_aws(topology, settings, session=session)


def not_told(settings: Settings) -> Sequence[str]:
    """What the broker does not report, so that `examine` cannot check it. Empty on AWS.

    Args:
        settings: endpoint and names; by default `Settings.from_environment()`.

    Example:
        ```python
        from messaging import Settings
        from messaging.doctor import not_told

        assert not_told(Settings(topic="alunos", region="sa-east-1")) == ()
        ```
    """
    if names_rabbitmq(settings):
        from messaging.doctor.rabbitmq import NOT_TOLD

        return NOT_TOLD
    return ()
