"""CloudWatch metrics and alarms, as CloudFormation resources."""

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
    """An alarm that notifies NotifyTopicArn, a parameter of the template. Missing data raises no
    alarm, because CloudWatch has none for a resource that has not been used for a while.

    Args:
        what: the properties of the watched metric, or `Metrics`.
        more: further properties, which override the defaults.
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
    """One entry of an alarm's `Metrics`, with a period of five minutes."""
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
