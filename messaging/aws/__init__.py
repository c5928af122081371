"""AWS: the only package that uses boto3, which it loads at the first request.

broker = connect()              # the topic and the queues, from the environment
print(plan(TOPOLOGY))           # what apply would do
apply(TOPOLOGY)
remove(TOPOLOGY, "biblioteca", dry_run=True)
"""

from messaging.aws.broker import AwsBroker, connect
from messaging.aws.provision import apply, plan
from messaging.aws.removal import remove
from messaging.changes import Change, Plan

__all__ = ["AwsBroker", "Change", "Plan", "apply", "connect", "plan", "remove"]
