"""The school office: it owns the topic and publishes to it, without knowing who subscribes."""

from messaging import Topology

__all__ = ["TOPOLOGY"]

TOPOLOGY = Topology.producer("alunos", owner="equipe-secretaria")
