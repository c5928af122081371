"""CloudWatch's metrics and alarms, as CloudFormation has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["alarm", "metric"]

_NOTIFY: Mapping[str, Any] = {
    "Fn::If": ["HasNotify", [{"Ref": "NotifyTopicArn"}], {"Ref": "AWS::NoValue"}]
}


def alarm(
    about: str, what: Mapping[str, Any], *, periods: int, above: float, **more: Any
) -> dict[str, Any]:
    """An alarm that tells NotifyTopicArn, a parameter of the template, and is silent without data:
    of what is long unused CloudWatch has none.

    Args:
        what: the metric that is looked at, or `Metrics`.
        more: properties that are to be otherwise.
    """
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmDescription": about,
            **what,
            "EvaluationPeriods": periods,
            "ComparisonOperator": "GreaterThanThreshold",
            "Threshold": above,
            "TreatMissingData": "notBreaching",
            "AlarmActions": _NOTIFY,
            **more,
        },
    }


def metric(
    id: str, namespace: str, name: str, dimension: tuple[str, str], statistic: str
) -> dict[str, Any]:
    """One of an alarm's `Metrics`, of five minutes each, for an expression or to be looked at."""
    return {
        "Id": id,
        "ReturnData": False,
        "MetricStat": {
            "Metric": {
                "Namespace": namespace,
                "MetricName": name,
                "Dimensions": [dict(zip(("Name", "Value"), dimension, strict=True))],
            },
            "Period": 300,
            "Stat": statistic,
        },
    }
