"""The school: its four services, and the map that follows from what they handle."""

from __future__ import annotations

from consumers.bi import BI
from consumers.financeiro import Financeiro
from consumers.marketing import Marketing
from consumers.plataforma import Plataforma
from messaging.consuming.consumer import Consumer
from messaging.topology import Topology

__all__ = ["BI", "SERVICES", "TOPOLOGY", "Financeiro", "Marketing", "Plataforma"]

SERVICES: tuple[type[Consumer], ...] = (Plataforma, Financeiro, Marketing, BI)
TOPOLOGY = Topology.of(*SERVICES, topic="alunos", owns_topic=True)
