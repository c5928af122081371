"""The school office: it owns the topic, and publishes to it. Who subscribes is not its business."""

from messaging import Topology

__all__ = ["TOPOLOGY"]

TOPOLOGY = Topology.producer("alunos", owner="equipe-secretaria")
