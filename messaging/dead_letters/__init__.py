"""A workbench for dead letters: inspect them, send them back, or drop them.

bench = Workbench(broker.letters("marketing"))          # or kind="undelivered"
for letter in bench.letters(Where(reason="email")):
    print(letter)                                       # ids, types and reasons; no body
print(bench.redrive(Where(reason="email")))             # what would go back to the queue
bench.redrive(Where(reason="email"), dry_run=False)
"""

from messaging.dead_letters.letter import Kind, Letter, Where
from messaging.dead_letters.source import DeadLetterSource
from messaging.dead_letters.workbench import Stuck, Workbench, WorkbenchReport

__all__ = ["Kind", "Letter", "DeadLetterSource", "WorkbenchReport", "Stuck", "Where", "Workbench"]
