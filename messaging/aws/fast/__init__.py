"""The fast transport: the four hot calls without boto3's overhead per request.

boto3 takes 1 to 2.5 ms of CPU per request; this takes a twentieth, for only four operations:
PublishBatch, ReceiveMessage, DeleteMessageBatch and ChangeMessageVisibilityBatch. boto3 does
everything else, and its configuration determines where these four go: `endpoint`. Loaded with the
first client.
"""

from messaging.aws.fast.calls import FastQueueCalls, FastTopicCalls
from messaging.aws.fast.endpoint import Unsupported

__all__ = ["FastQueueCalls", "FastTopicCalls", "Unsupported"]
