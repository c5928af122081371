"""Looks at what stands on AWS and says what would go wrong, with the remedy.

for found in examine(TOPOLOGY, Settings.from_environment()):
    print(found.severity, found.where, found.said, found.remedy)
"""

from messaging.doctor.examination import examine
from messaging.doctor.kinds import KINDS, Diagnosis, Kind, Severity

__all__ = ["KINDS", "Diagnosis", "Kind", "Severity", "examine"]
