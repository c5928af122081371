"""Infrastructure as code: a topology as CloudFormation, Terraform, IAM policies, alarms and more.

Each function takes a topology, with its prefix, and returns a document as plain data. It makes no
requests, and the same topology always gives the same document. The desired state of the queues
comes from `messaging.aws.desired`, as for `messaging topology apply`, so the two cannot disagree.
"""

from messaging.export.alarms import alarms
from messaging.export.cloudformation import cloudformation
from messaging.export.drift import drift
from messaging.export.grafana import grafana
from messaging.export.iam import iam_template, policies
from messaging.export.kms import key_template, sns_statement
from messaging.export.places import CLOUDFORMATION, TERRAFORM
from messaging.export.rules import prometheus_rules
from messaging.export.scaling import Scaling, ecs, keda
from messaging.export.terraform import terraform

__all__ = [
    "CLOUDFORMATION",
    "TERRAFORM",
    "Scaling",
    "alarms",
    "cloudformation",
    "drift",
    "ecs",
    "grafana",
    "iam_template",
    "keda",
    "key_template",
    "policies",
    "prometheus_rules",
    "sns_statement",
    "terraform",
]
