"""AWS: the only one that knows boto3, which it loads at the first request.

broker = connect()              # the topic and the queues, from the environment
print(plan(TOPOLOGY))           # what apply would do
apply(TOPOLOGY)
"""

from messaging.aws.broker import AwsBroker, connect
from messaging.aws.changes import Change, Plan
from messaging.aws.provision import apply, plan

__all__ = ["AwsBroker", "Change", "Plan", "apply", "connect", "plan"]
