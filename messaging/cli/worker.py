"""`messaging run`: runs one or more services until a signal arrives or their queues are empty."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from messaging.cli import names, screen
from messaging.cli.options import CodecName, Json, TopologyName, flag
from messaging.cli.project import HOST, chosen_codec, connected, deployment_if_any, require_topic
from messaging.cli.signals import EndedBySignals

if TYPE_CHECKING:
    from messaging.consuming.consumer import Consumer
    from messaging.consuming.dispatch import Middleware
    from messaging.runtime import Worker, WorkerReport
    from messaging.settings import Settings
    from messaging.stores import RateStore
    from messaging.transport import Broker

__all__ = ["run"]

_LOOK_EVERY = 0.4
_LOOKS = 3
_SHORT_WAIT = 1.0


WEDGED = 3
"""Exit code of a process that was wedged."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of `messaging run`."""

    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="Handlers at a time; by default MESSAGING_CONCURRENCY, or 10."
        ),
    ] = None
    processes: Annotated[int, typer.Option(min=1, max=64, help="Number of processes.")] = 1
    drain: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds for running handlers at stop. Else MESSAGING_DRAIN, 20."),
    ] = None
    wait: Annotated[
        float | None,
        typer.Option(min=0, max=20, help="Seconds of one long poll. Else MESSAGING_WAIT, 20."),
    ] = None
    patience: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Seconds to wait at the start for an endpoint that does not answer; by default "
            "forever.",
        ),
    ] = None
    wedged: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="End with exit code 3 when all handlers of a service have hung for so many "
            "seconds.",
        ),
    ] = None
    health: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Answer /live and /ready there, with the extra prometheus /metrics; port 0: any.",
        ),
    ] = None
    log_format: Annotated[
        Literal["text", "json"],
        typer.Option(help="json: an object in each line, with ids where known."),
    ] = "text"
    until_empty: Annotated[bool, flag("--until-empty", "Stop when the queues stay empty.")] = False
    reload: Annotated[
        bool,
        flag(
            "--reload",
            "For development: start again whenever a Python file below this folder changes.",
        ),
    ] = False
    middleware: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE:NAME",
            help="Around every handler (an Idempotency, say); may be repeated, outermost first.",
        ),
    ] = None
    codec: CodecName = None
    topology: TopologyName = None
    json: Json = False


def run(
    consumers: Annotated[
        list[str],
        typer.Argument(
            metavar="MODULE:NAME", help="Consumer classes, consumers, or functions that give one."
        ),
    ],
    given: RunOptions,
) -> None:
    """Run services: receive, handle, acknowledge, until Ctrl-C or SIGTERM.

    When stopped, it lets running handlers finish and releases all other messages to the queue; a
    second signal does not wait for the handlers. The log goes to stderr, the final counts to
    stdout; with --processes, each process prints its own.

    [bold]Example:[/bold] messaging run consumers.marketing:Marketing --concurrency 20
    """
    child = _one_process(consumers, given)
    if given.reload:
        raise typer.Exit(_run_again_and_again(child, given))
    wanted, settings = deployment_if_any(given.topology)
    told = {"concurrency": given.concurrency, "drain": given.drain, "wait": given.wait}
    if given.until_empty and given.wait is None:
        told["wait"] = _SHORT_WAIT  # stopping waits for a long poll in flight
    settings = settings.model_copy(update={k: v for k, v in told.items() if v is not None})
    require_topic(settings)
    screen.log_to_stderr(settings.log_level, json_lines=given.log_format == "json")
    if given.processes > 1:
        raise typer.Exit(_run_several(child, consumers, given))
    made = [names.consumer(name, "consumer") for name in consumers]
    if wanted is not None:
        for consumer in made:
            wanted.queue(consumer.service)  # raises for an unknown service
    _work(made, settings, given)


def _middleware(given: RunOptions) -> list[Middleware]:
    from messaging import log_context

    return [
        *([log_context.with_ids] if given.log_format == "json" else []),
        *HOST.get().middleware(),
        *(names.middleware(name, "--middleware") for name in given.middleware or ()),
    ]


def _run_again_and_again(child: Sequence[str], given: RunOptions) -> int:
    if given.processes > 1:
        raise typer.BadParameter("leave --processes out: it runs one", param_hint="--reload")
    from messaging.runtime.reloading import run_reloading

    screen.log_to_stderr("INFO")
    # Nothing is imported here: code that cannot be imported yet is fixed by the next change.
    health = ("--health", given.health) if given.health else ()
    return run_reloading([*child, *health], Path.cwd())


def _run_several(child: Sequence[str], consumers: Sequence[str], given: RunOptions) -> int:
    if given.health is not None:
        raise typer.BadParameter(
            "several processes cannot answer at one address: run one process in each container, or "
            "leave --processes out",
            param_hint="--health",
        )
    from messaging.runtime.processes import run_processes

    for name in consumers:  # a wrong name is reported once, not by every process
        names.load(name, "consumer", example="consumers.marketing:Marketing")
    return run_processes(child, given.processes)


def _work(consumers: Sequence[Consumer], settings: Settings, given: RunOptions) -> None:
    from messaging.errors import WorkerWedged
    from messaging.runtime import Stage, Worker
    from messaging.runtime.hooks import close_unstarted

    codec, middleware = chosen_codec(given.codec), _middleware(given)
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
            patience=given.patience,
            wedged_limit=given.wedged,
        )
        HOST.get().made(worker, consumers)
        _measure(worker)
        try:
            with _answering(worker, given.health):
                if given.until_empty:
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
                _tell(worker.stop(), given.json)


def _rates(settings: Settings) -> AbstractContextManager[RateStore | None]:
    if settings.rates is None:
        return nullcontext()
    from messaging.rates import open_rates

    return closing(open_rates(settings.rates))


@contextmanager
def _answering(worker: Worker, address: str | None) -> Iterator[None]:
    """Serve health checks while the block runs; prints the chosen address."""
    if address is None:
        yield
        return
    from messaging.runtime.health import serve_health

    with _metrics(worker) as metrics, serve_health(worker, address, metrics=metrics) as at:
        pages = "/live and /ready" if metrics is None else "/live, /ready and /metrics"
        screen.note(f"health at http://{at[0]}:{at[1]}{pages}")
        yield


def _metrics(worker: Worker) -> AbstractContextManager[Callable[[], tuple[str, str]] | None]:
    """The page for Prometheus, if the extra `prometheus` is installed."""
    from importlib.util import find_spec

    if find_spec("prometheus_client") is None:
        return nullcontext()
    from messaging.metrics import Metrics
    from messaging.metrics.prometheus import serving

    return serving(Metrics(worker))


def _measure(worker: Worker) -> None:
    """Export the worker's metrics to OpenTelemetry, if `opentelemetry-instrument` or a middleware's
    module has loaded it."""
    if "opentelemetry.metrics" in sys.modules:
        from messaging.metrics import Metrics, otel

        otel.observe(Metrics(worker))


def _run_until_empty(worker: Worker, broker: Broker, services: Sequence[str]) -> None:
    from messaging.clock import SYSTEM_CLOCK
    from messaging.runtime import Stage

    queues = [broker.queue(service) for service in services]
    for queue in queues:
        queue.depth()  # a worker waits for an unavailable queue; --until-empty should fail
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


def _one_process(consumers: Sequence[str], given: RunOptions) -> list[str]:
    """The arguments that start one of several processes."""
    command = [*HOST.get().child, *consumers]
    for name, value in asdict(replace(given, processes=1, health=None, reload=False)).items():
        option = f"--{name.replace('_', '-')}"
        for one in value if isinstance(value, list) else [value]:
            if one is True:
                command.append(option)
            elif one is not None and one is not False:
                command += [option, str(one)]
    return command
