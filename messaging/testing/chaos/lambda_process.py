"""One execution environment of AWS Lambda with its poller; it can be killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from messaging.errors import TransportError
from messaging.lambda_handler import Handler, lambda_handler
from messaging.testing.chaos.process import Mortal, in_a_loop
from messaging.testing.chaos.wire import Killed
from messaging.testing.lambda_events import record_of
from messaging.transport import BATCH_ENTRIES, QueueTransport

if TYPE_CHECKING:
    from messaging.testing.chaos.simulation import Simulation

__all__ = ["LambdaProcess"]


class LambdaProcess(Mortal):
    """A function for each service. A step receives a batch, invokes, and deletes what is done.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    """

    idle = True
    """Nothing is in flight between two steps."""

    def __init__(self, name: str, stage: Simulation) -> None:
        super().__init__(name, stage)
        self._invoked: set[int] = set()
        setup = stage.setup
        self._functions: dict[int, tuple[QueueTransport, Handler]] = {}
        for number in stage.services:
            service = setup.services[number].service
            queue = stage.queue_for(self, service)
            handler = lambda_handler(
                setup.consumers[number](),
                queue=queue,
                middleware=self.middleware(),
                clock=stage.clock,
            )
            self._functions[number] = queue, handler

    def step(self, doing: str, service: int) -> bool:
        """Receive, invoke and delete; False if there was nothing to do."""
        if doing != "poll" or service in self._invoked or in_a_loop():
            return False
        before, self.doing = self.doing, doing
        self._invoked.add(service)
        try:
            return self._invoke(*self._functions[service])
        except (Killed, TransportError):
            return True
        except BaseException as error:  # noqa: BLE001 - it leaves the function, which starts anew
            self._stage.tell(self.name, "", "crashed", "", type(error).__name__)
            self.kill()
            return True
        finally:
            self._invoked.discard(service)
            self.doing = before

    def _invoke(self, queue: QueueTransport, handler: Handler) -> bool:
        received = queue.receive(BATCH_ENTRIES, 0)
        if not received:
            return False
        answer = handler({"Records": [record_of(one) for one in received]}, None)
        self.check_alive()
        again = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
        done = [one for one in received if one.message_id not in again]
        if done:
            queue.delete(done)
        return True

    def hear_signal(self) -> None:
        """Lambda ends an environment without a signal, but never during an invocation."""
        if self.alive and not self._invoked:
            self.alive = False
            self._stage.tell(self.name, "", "stopped")

    def try_to_end(self) -> bool:
        return not self.alive
