"""The fast road: the four hot calls without what boto3 spends on each request.

boto3 spends 1 to 2.5 ms of CPU on a request; here it is a twentieth, for four operations only:
PublishBatch, ReceiveMessage, DeleteMessageBatch, ChangeMessageVisibilityBatch. All else is
boto3's, and so is what these four need to know: `endpoint`. Loaded when a client is.
"""

from messaging.aws.fast.calls import FastQueueCalls, FastTopicCalls
from messaging.aws.fast.endpoint import Unsupported

__all__ = ["FastQueueCalls", "FastTopicCalls", "Unsupported"]
