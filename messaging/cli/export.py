"""`messaging export`: infrastructure as code, from the same topology as `topology apply`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from messaging.cli import screen
from messaging.cli.contract import put
from messaging.cli.help import add, group
from messaging.cli.options import Target, TopologyName, flag
from messaging.cli.project import deployment
from messaging.errors import ConfigurationError

if TYPE_CHECKING:
    from messaging.export.scaling import Scaling
    from messaging.topology import Topology

__all__ = ["app"]

app = group("Write the topology as infrastructure as code: CloudFormation, IAM and more.")


def cloudformation_command(topology: TopologyName = None, to: Target = Target()) -> None:
    """Write a CloudFormation template of the resources that `topology apply` would create.

    Deploy the template or run the command: both create the same, and `topology plan` has nothing to
    do afterwards. The CDK includes the template with `CfnInclude`.

    [bold]Example:[/bold] messaging export cloudformation -o topology.json
    """
    from messaging.export import cloudformation

    wanted, arn = _wanted(topology)
    _write(cloudformation(wanted, others_topic=arn), to, "cloudformation")


def terraform_command(topology: TopologyName = None, to: Target = Target()) -> None:
    """Write Terraform (JSON) for the resources that `topology apply` would create.

    The file's name must end in .tf.json. Requires the provider hashicorp/aws 6.8 or later.

    [bold]Example:[/bold] messaging export terraform -o topology.tf.json
    """
    from messaging.export.terraform import terraform
    from messaging.topology import DEFAULT_MAX_BYTES

    wanted, arn = _wanted(topology)
    if wanted.owns_topic and wanted.topic.max_bytes != DEFAULT_MAX_BYTES:
        screen.note(
            f"the provider has no argument for the topic's MaximumMessageSize "
            f"({wanted.topic.max_bytes}): set it with `messaging topology apply`"
        )
    _write(terraform(wanted, others_topic=arn), to, "terraform")


def iam_command(
    topology: TopologyName = None,
    role: Annotated[
        str | None, typer.Option(metavar="ROLE", help="One role's policy alone, as plain JSON.")
    ] = None,
    account: Annotated[
        str, typer.Option(metavar="ID", help="With --role: the account's number.")
    ] = "*",
    region: Annotated[str, typer.Option(metavar="NAME", help="With --role: the region.")] = "*",
    to: Target = Target(),
) -> None:
    """Write IAM policies with exactly the actions that the library needs in each role.

    Roles are producer, relay, operator, topic-deploy, and for each service SERVICE-worker,
    SERVICE-lambda and SERVICE-deploy. Without --role, writes all of them as a CloudFormation
    template.

    [bold]Example:[/bold] messaging export iam --role bi-worker --account 111111111111
    """
    from messaging.aws.clients import Place
    from messaging.export import iam_template, policies

    wanted, arn = _wanted(topology)
    if role is None:
        _write(iam_template(wanted, others_topic=arn), to, "iam")
        return
    found = policies(wanted, Place("aws", region, account), others_topic=arn)
    if role not in found:
        raise ConfigurationError(f"--role {role!r}: known are {', '.join(found)}")
    _write(found[role], to, f"iam --role {role}")


def kms_command(
    topology: TopologyName = None,
    statements: Annotated[
        bool, flag("--statements", "Only the statements that an existing key's policy needs.")
    ] = False,
    account: Annotated[
        str, typer.Option(metavar="ID", help="With --statements: the account's number.")
    ] = "",
    region: Annotated[
        str, typer.Option(metavar="NAME", help="With --statements: the region.")
    ] = "",
    to: Target = Target(),
) -> None:
    """Write the topology's KMS key as a CloudFormation template, with the policy that SNS needs.

    For `Topology.of(..., kms_key="alias/alunos")`. Create the key before the queues: without its
    policy, SNS cannot deliver to them.

    [bold]Example:[/bold] messaging export kms -o key.json
    """
    from messaging.aws.clients import Place
    from messaging.export import key_template, sns_statement

    wanted, arn = _wanted(topology)
    if not statements:
        _write(key_template(wanted, others_topic=arn), to, "kms")
        return
    if arn is None and not (account and region):
        raise ConfigurationError("--statements: give --account and --region, which are the topic's")
    said = sns_statement(wanted, Place("aws", region, account), others_topic=arn)
    _write([said], to, "kms --statements")


def alarms_command(
    topology: TopologyName = None,
    oldest: Annotated[int, typer.Option(min=1, help="Seconds that a message may wait.")] = 900,
    emf: Annotated[
        str,
        typer.Option(
            metavar="NAMESPACE", help="Also over what CloudWatchMetrics writes of Lambda functions."
        ),
    ] = "",
    to: Target = Target(),
) -> None:
    """Write CloudWatch alarms and a dashboard, as a CloudFormation template.

    Per service: its queue is behind, nothing is deleted although messages wait, dead letters,
    undelivered messages. The parameter NotifyTopicArn is the topic to notify. With --emf messaging,
    for Lambda functions: events are old, or most of them are redelivered.

    [bold]Example:[/bold] messaging export alarms -o alarms.json
    """
    from messaging.export.alarms import alarms

    wanted, _ = _wanted(topology)
    _write(alarms(wanted, oldest=oldest, emf=emf), to, "alarms")


def grafana_command(topology: TopologyName = None, to: Target = Target()) -> None:
    """Write a Grafana dashboard for the metrics that workers export to Prometheus.

    [bold]Example:[/bold] messaging export grafana -o dashboard.json
    """
    from messaging.export.grafana import grafana

    _write(grafana(_wanted(topology)[0]), to, "grafana")


def prometheus_command(
    topology: TopologyName = None,
    oldest: Annotated[int, typer.Option(min=1, help="Seconds that a message may wait.")] = 900,
    canary: Annotated[
        int, typer.Option(min=0, help="Seconds between canaries; 0: there are none.")
    ] = 0,
    to: Target = Target(),
) -> None:
    """Write Prometheus alert rules for the metrics that workers export.

    Per service: no worker, circuit open, wedged, queue unreachable, behind, dead letters, lost
    leases, more retries than results. With --canary, missing canaries; if the topology owns the
    topic, the producer and its outbox.

    [bold]Example:[/bold] messaging export prometheus --canary 60 -o alerts.json
    """
    from messaging.export.rules import prometheus_rules

    wanted, _ = _wanted(topology)
    _write(prometheus_rules(wanted, oldest=oldest, canary=canary), to, "prometheus")


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """The throughput of one task, and the allowed number of tasks."""

    concurrency: Annotated[int, typer.Option(min=1, help="Handlers at once in one task.")] = 10
    seconds: Annotated[
        float, typer.Option(min=0.0001, help="That a handler takes in the mean.")
    ] = 0.1
    wait: Annotated[float, typer.Option(min=1, help="Seconds that a message may wait.")] = 60
    least: Annotated[int, typer.Option("--min", min=0, help="Tasks at least.")] = 1
    most: Annotated[int, typer.Option("--max", min=1, help="Tasks at most.")] = 10

    def scaling(self) -> Scaling:
        """As the export's `Scaling`; raises `ConfigurationError` if a value is invalid."""
        from messaging.export.scaling import Scaling

        return Scaling(**asdict(self))


def keda_command(
    account: Annotated[str, typer.Option(metavar="ID", help="The account's number.")],
    region: Annotated[str, typer.Option(metavar="NAME", help="The queues' region.")],
    topology: TopologyName = None,
    tasks: Tasks = Tasks(),
    to: Target = Target(),
) -> None:
    """Write KEDA ScaledObjects: as many pods as the backlog needs.

    Messages per pod = concurrency / seconds * wait.

    [bold]Example:[/bold] messaging export keda --account 111111111111 --region sa-east-1
    """
    from messaging.export.scaling import keda

    made = keda(_wanted(topology)[0], tasks.scaling(), account=account, region=region)
    _write(made, to, "keda")


def ecs_command(
    topology: TopologyName = None,
    tasks: Tasks = Tasks(),
    to: Target = Target(),
) -> None:
    """Write target tracking for ECS: as many tasks as the backlog needs, as CloudFormation.

    Messages per task = concurrency / seconds * wait.

    [bold]Example:[/bold] messaging export ecs --concurrency 20 --seconds 0.05 -o scaling.json
    """
    from messaging.export.scaling import ecs

    _write(ecs(_wanted(topology)[0], tasks.scaling()), to, "ecs")


def rabbitmq_permissions_command(
    topology: TopologyName = None,
    role: Annotated[
        str | None, typer.Option(metavar="ROLE", help="One role's expressions alone.")
    ] = None,
    vhost: Annotated[
        str | None, typer.Option(metavar="NAME", help="Else that of MESSAGING_BROKER_URL, or /.")
    ] = None,
    users: Annotated[
        bool, typer.Option("--users", help="Make the users as well, without passwords.")
    ] = False,
    to: Target = Target(),
) -> None:
    """Write each role's minimal RabbitMQ permissions, as definitions to import.

    Roles are producer, topic-deploy, operator, and for each service SERVICE-worker and
    SERVICE-deploy; users are called TOPIC-ROLE. With --role: its three expressions, as
    `rabbitmqctl set_permissions` takes them.

    [bold]Example:[/bold] messaging export rabbitmq-permissions --users -o users.json
    """
    from messaging.connecting import require_rabbitmq

    require_rabbitmq("permissions of RabbitMQ are asked for")
    from messaging.rabbitmq.permissions import definitions, permissions

    wanted, settings = deployment(topology)
    named = wanted.prefixed(settings.prefix)
    if role is None:
        document = definitions(named, vhost=vhost or settings.virtual_host, users=users)
        _write(document, to, "rabbitmq-permissions")
        return
    found = permissions(named)
    if role not in found:
        raise ConfigurationError(f"--role {role!r}: known are {', '.join(found)}")
    _write(asdict(found[role]), to, f"rabbitmq-permissions --role {role}")


def _wanted(said: str | None) -> tuple[Topology, str | None]:
    """The topology with its prefix, and the ARN in MESSAGING_TOPIC, if it is one."""
    from messaging.aws.naming import topic_of
    from messaging.connecting import names_rabbitmq

    topology, settings = deployment(said)
    if names_rabbitmq(settings):
        screen.note(
            "this is for AWS, and MESSAGING_BROKER_URL names RabbitMQ: there `messaging topology "
            "apply` makes it all; `messaging export rabbitmq-permissions` writes who may do what"
        )
    arn = topic_of(topology, settings).arn  # raises for another topic or another region
    if arn is not None and topology.owns_topic:
        screen.note(
            f"MESSAGING_TOPIC is {arn}, and this topology makes its topic where it is deployed: "
            "deploy it in that account and region"
        )
    return topology.prefixed(settings.prefix), arn


def _write(document: Any, to: Target, words: str) -> None:
    from messaging.contract.files import written

    put(written(document), to, f"messaging export {words}")


add(app, "cloudformation", cloudformation_command)
add(app, "terraform", terraform_command)
add(app, "iam", iam_command)
add(app, "kms", kms_command)
add(app, "alarms", alarms_command)
add(app, "grafana", grafana_command)
add(app, "prometheus", prometheus_command)
add(app, "keda", keda_command)
add(app, "ecs", ecs_command)
add(app, "rabbitmq-permissions", rabbitmq_permissions_command)
