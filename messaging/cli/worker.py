"""`messaging run`: runs one or more services until a signal or an empty queue."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from messaging.cli import names, screen
from messaging.cli.options import CodecName, Json, TopologyName, flag
from messaging.cli.project import HOST, chosen_codec, connected, deployment_if_any, require_topic
from messaging.cli.signals import EndedBySignals

if TYPE_CHECKING:
    from messaging.codec import Codec
    from messaging.consuming.consumer import Consumer
    from messaging.consuming.dispatch import Middleware
    from messaging.runtime import Worker, WorkerReport
    from messaging.settings import Settings
    from messaging.stores import RateStore
    from messaging.topology import Topology
    from messaging.transport import Broker

__all__ = ["run"]

_LOOK_EVERY = 0.4
_LOOKS = 3
_SHORT_WAIT = 1.0


Consumers = Annotated[
    list[str],
    typer.Argument(
        metavar="MODULE:NAME", help="Consumer classes, consumers, or functions that give one."
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(min=1, max=1000, help="Handlers at once. Else MESSAGING_CONCURRENCY, else 10."),
]
Processes = Annotated[int, typer.Option(min=1, max=64, help="Number of processes.")]
Drain = Annotated[
    float | None,
    typer.Option(min=0, help="Seconds for running handlers at stop. Else MESSAGING_DRAIN, 20."),
]
WEDGED = 3
"""Exit code of a process that was wedged."""

Wedged = Annotated[
    float | None,
    typer.Option(
        min=1,
        help="End with exit code 3 when all handlers of a service have hung for so many seconds.",
    ),
]
HealthAddress = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Answer /live and /ready there, with the extra prometheus /metrics; port 0: any.",
    ),
]


LogFormat = Annotated[
    Literal["text", "json"],
    typer.Option(help="json: an object in each line, with ids where known."),
]
Wait = Annotated[
    float | None,
    typer.Option(min=0, max=20, help="Seconds of one long poll. Else MESSAGING_WAIT, 20."),
]
Patience = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Seconds to wait at the start for an endpoint that does not answer; else forever.",
    ),
]
UntilEmpty = Annotated[bool, flag("--until-empty", "Stop when the queues stay empty.")]

Reload = Annotated[
    bool,
    flag(
        "--reload", "For development: start again whenever a Python file below this folder changes."
    ),
]
MiddlewareNames = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE:NAME",
        help="Around every handler (an Idempotency, say); may be repeated, outermost first.",
    ),
]


def run(
    consumers: Consumers,
    concurrency: Concurrency = None,
    processes: Processes = 1,
    drain: Drain = None,
    wait: Wait = None,
    patience: Patience = None,
    wedged: Wedged = None,
    health: HealthAddress = None,
    log_format: LogFormat = "text",
    until_empty: UntilEmpty = False,
    reload: Reload = False,
    middleware: MiddlewareNames = None,
    codec: CodecName = None,
    topology: TopologyName = None,
    json: Json = False,
) -> None:
    """Run services: receive, handle, acknowledge, until Ctrl-C or SIGTERM.

    A stop lets running handlers finish and gives everything else back to the queue; a second
    signal does not wait for them. The log goes to stderr, the final counts to stdout; with
    --processes, each process prints its own.

    [bold]Example:[/bold] messaging run consumers.marketing:Marketing --concurrency 20
    """
    given = {"concurrency": concurrency, "drain": drain, "wait": wait}
    options: list[tuple[str, object]] = [("--topology", topology), ("--codec", codec)]
    options += [(f"--{name}", value) for name, value in given.items()]
    options += [("--patience", patience), ("--wedged", wedged), ("--log-format", log_format)]
    options += [("--middleware", name) for name in middleware or ()]
    child = _one_process(consumers, options, {"--until-empty": until_empty, "--json": json})
    if reload:
        raise typer.Exit(_run_again_and_again(child, processes, health))
    wanted, settings = deployment_if_any(topology)
    if until_empty and wait is None:
        given["wait"] = _SHORT_WAIT  # at the end a long poll that is out is waited for
    settings = settings.model_copy(update={k: v for k, v in given.items() if v is not None})
    require_topic(settings)
    json_lines = log_format == "json"
    screen.log_to_stderr(settings.log_level, json_lines=json_lines)
    if processes > 1:
        raise typer.Exit(_run_several(child, processes, consumers, health))
    made = [names.consumer(name, "consumer") for name in consumers]
    _check_services(made, wanted)
    _work(
        made,
        settings,
        codec=chosen_codec(codec),
        middleware=_middleware(middleware or (), with_ids=json_lines),
        patience=patience,
        wedged=wedged,
        health=health,
        until_empty=until_empty,
        json=json,
    )


def _middleware(given: Sequence[str], *, with_ids: bool) -> list[Middleware]:
    from messaging import log_context

    first: list[Middleware] = [log_context.with_ids] if with_ids else []
    return [
        *first,
        *HOST.get().middleware(),
        *(names.middleware(name, "--middleware") for name in given),
    ]


def _run_again_and_again(child: Sequence[str], processes: int, health: str | None) -> int:
    if processes > 1:
        raise typer.BadParameter("leave --processes out: it runs one", param_hint="--reload")
    from messaging.runtime.reloading import run_reloading

    screen.log_to_stderr("INFO")
    # Nothing is imported here: what cannot be imported yet is mended by the next change.
    return run_reloading([*child, *(("--health", health) if health else ())], Path.cwd())


def _run_several(
    child: Sequence[str], processes: int, consumers: Sequence[str], health: str | None
) -> int:
    if health is not None:
        raise typer.BadParameter(
            "several processes cannot answer at one address: run one process in each container, or "
            "leave --processes out",
            param_hint="--health",
        )
    from messaging.runtime.processes import run_processes

    for name in consumers:  # a wrong name is reported once, not by every process
        names.load(name, "consumer", example="consumers.marketing:Marketing")
    return run_processes(child, processes)


def _check_services(consumers: Sequence[Consumer], topology: Topology | None) -> None:
    for consumer in consumers if topology is not None else ():
        topology.queue(consumer.service)  # type: ignore[union-attr] # raises for an unknown service


def _work(
    consumers: Sequence[Consumer],
    settings: Settings,
    *,
    codec: Codec | None,
    middleware: Sequence[Middleware],
    patience: float | None,
    wedged: float | None,
    health: str | None,
    until_empty: bool,
    json: bool,
) -> None:
    from messaging.errors import WorkerWedged
    from messaging.runtime import Stage, Worker
    from messaging.runtime.hooks import close_unstarted

    with connected(settings) as broker, _rates(settings) as rates:
        worker = Worker(
            *consumers,
            broker=broker,
            rates=rates,
            concurrency=settings.concurrency,
            wait=settings.wait,
            drain=settings.drain,
            codec=codec,
            middleware=middleware,
            patience=patience,
            wedged_limit=wedged,
        )
        HOST.get().made(worker, consumers)
        _measure(worker)
        try:
            with _answering(worker, health):
                if until_empty:
                    _run_until_empty(worker, broker, [one.service for one in consumers])
                else:
                    worker.run()
        except WorkerWedged as error:
            screen.error(f"{error}; the process ends, so that its supervisor starts another")
            raise typer.Exit(WEDGED) from None
        finally:
            if worker.stage is Stage.NEW:  # it could not start; otherwise it closes them itself
                close_unstarted(consumers)
            else:
                _tell(worker.stop(), json)


def _rates(settings: Settings) -> AbstractContextManager[RateStore | None]:
    if settings.rates is None:
        return nullcontext()
    from messaging.rates import open_rates

    return closing(open_rates(settings.rates))


@contextmanager
def _answering(worker: Worker, address: str | None) -> Iterator[None]:
    """Health, as long as the worker lives; the address that was taken is told."""
    if address is None:
        yield
        return
    from messaging.runtime.health import serve_health

    with _metrics(worker) as metrics, serve_health(worker, address, metrics=metrics) as at:
        pages = "/live and /ready" if metrics is None else "/live, /ready and /metrics"
        screen.note(f"health at http://{at[0]}:{at[1]}{pages}")
        yield


def _metrics(worker: Worker) -> AbstractContextManager[Callable[[], tuple[str, str]] | None]:
    """The page for Prometheus, where the extra `prometheus` is installed."""
    from importlib.util import find_spec

    if find_spec("prometheus_client") is None:
        return nullcontext()
    from messaging.metrics import Metrics
    from messaging.metrics.prometheus import serving

    return serving(Metrics(worker))


def _measure(worker: Worker) -> None:
    """Its metrics for OpenTelemetry, if that is loaded: by `opentelemetry-instrument`, or by the
    module of a middleware."""
    if "opentelemetry.metrics" in sys.modules:
        from messaging.metrics import Metrics, otel

        otel.observe(Metrics(worker))


def _run_until_empty(worker: Worker, broker: Broker, services: Sequence[str]) -> None:
    from messaging.clock import SYSTEM_CLOCK
    from messaging.runtime import Stage

    queues = [broker.queue(service) for service in services]
    for queue in queues:
        queue.depth()  # a worker waits for a queue that does not answer; who wants an end does not
    with worker, EndedBySignals():
        quiet = 0
        received = -1
        while quiet < _LOOKS and worker.stage is Stage.RUNNING:
            SYSTEM_CLOCK.sleep(_LOOK_EVERY)
            stats = worker.stats
            idle = stats.in_flight == 0 and stats.received == received
            idle = idle and not any(sum(queue.depth()[:3]) for queue in queues)
            quiet, received = (quiet + 1 if idle else 0), stats.received


def _tell(report: WorkerReport, json: bool) -> None:
    if json:
        screen.data(
            {
                "services": {name: asdict(stats) for name, stats in report.services.items()},
                "unfinished": list(report.unfinished),
            }
        )
        return
    screen.table(
        "What became of the messages",
        ["service", ">received", ">acknowledged", ">released", ">dead letters", ">expired"],
        [
            [
                *(name, stats.received, stats.acknowledged),
                *(stats.released, stats.dead_lettered, stats.expired),
            ]
            for name, stats in report.services.items()
        ],
    )
    if report.unfinished:
        screen.note(
            f"{len(report.unfinished)} handlers did not end in time (--drain); their messages come "
            f"again: {', '.join(report.unfinished)}"
        )


def _one_process(
    consumers: Sequence[str], options: Sequence[tuple[str, object]], flags: Mapping[str, bool]
) -> list[str]:
    """The command line of one of several processes."""
    command = [*HOST.get().child, *consumers]
    for name, value in options:
        command += [name, str(value)] if value is not None else []
    return command + [name for name, given in flags.items() if given]
