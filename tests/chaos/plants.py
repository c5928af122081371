# ruff: noqa: E501 - the code that is looked for stands here as it stands there
"""Bugs to be planted in the library's own code, and who finds each: the kit, or a test.

`KIT` is found by scenarios of the kit's command within `SEEDS` seeds; everything else is the name of
a test. `tests/chaos/test_finds_planted_bugs.py` plants each and sees that it is found.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.chaos.planting import Plant

__all__ = ["BUGS", "KIT", "SEEDS", "WIRE", "Bug"]

KIT = "the kit"
SEEDS = 150

R, S, P, C = "messaging.runtime.", "messaging.settlement", "messaging.publishing.", "messaging."


class Bug(NamedTuple):
    """One bug and who finds it."""

    plant: Plant
    found_by: str = KIT


def bug(module: str, old: str, new: str, found_by: str = KIT) -> Bug:
    return Bug(Plant(module, old, new), found_by)


BUGS: dict[str, Bug] = {
    # What was missed before.
    "renews only the first ten leases at each look": bug(
        R + "heartbeat",
        "for some in batches(due):\n            self._renew(some)",
        "if due:\n            self._renew(due[:10])",
    ),
    "keeps a connection on which an answer is still to come": bug(
        "messaging.aws.fast.pool",
        '''        connection.socket.close()
        if isinstance(error, TimeoutError):
''',
        '''        if isinstance(error, TimeoutError):
            self._idle.append(connection)
''',
        "tests/aws/fast/test_no_shifted_answers.py::test_a_publish_that_timed_out_does_not_answer_for_the_next",
    ),
    "loses the first row of an unanswered request of four or more": bug(
        "messaging.outbox.relay",
        "self._decide(entries, again, at_once=True)",
        "self._decide(entries, again[len(again) > 3 :], at_once=True)",
    ),
    "drops the settlements that are pending at the stop": bug(
        R + "settler",
        "self._hurry_later, now = False, math.inf",
        "self._hurry_later, self._later = False, []",
    ),
    "acknowledges what a BaseException ended": bug(
        R + "executor",
        "        return self._policy(message, error)\n\n    def _policy",
        "        return Ack()\n\n    def _policy",
    ),
    "counts a refused renewal as renewed": bug(
        R + "heartbeat", "failure = failed.get(index)\n", "failure = None\n"
    ),
    "counts a refused release as released": bug(
        R + "settlement",
        "self._in_flight.settle(done, Disposition.RELEASED)",
        "self._in_flight.settle(batch, Disposition.RELEASED)",
    ),
    # Receive.
    "gives back nothing of what comes after the stop": bug(
        R + "in_flight", "refused = self._closed or self.paused or self.alone", "refused = False"
    ),
    "counts the lease from the answer, however late it came": bug(
        R + "receiver",
        "answered - max(0.0, answered - asked - wait)",
        "answered",
        "tests/runtime/test_limits.py::test_a_slow_answer_does_not_make_a_lease_longer_than_it_is",
    ),
    "handles a message beside itself when it comes again": bug(
        R + "in_flight",
        "                elif not in_flight[key].sealed:\n",
        "                elif False:\n",
        "tests/runtime/test_leases.py::test_a_message_that_comes_again_while_in_hand_is_handled_once",
    ),
    "tells of an outage at every receive": bug(
        R + "receiver",
        "if self._failures == 1:",
        "if self._failures:",
        "tests/runtime/test_receiver.py::test_an_outage_is_waited_out_and_told_once",
    ),
    # Leases.
    "renews up to the whole lease beyond max_lease": bug(
        R + "heartbeat",
        "rest = message.first + self._max_lease - now",
        "rest = message.first + self._max_lease + self._lease - now",
    ),
    "renews from the moment of the renewal's answer": bug(
        R + "in_flight",
        "message.lease_until = until\n",
        "message.lease_until = until + 20\n",
    ),
    "never gives up a message whose lease is over": bug(
        R + "heartbeat",
        "            if message.lease_until <= now:\n                self._give_up(message)",
        "            if message.lease_until <= now:\n                pass",
        "tests/testing/test_stepping.py::test_beyond_max_lease_a_message_counts_as_expired_at_once",
    ),
    "takes a lease that is lost for one that goes on": bug(
        R + "in_flight",
        "            if until is None:\n                message.lost = True",
        "            if until is None:\n                message.lease_until += 30",
        "tests/runtime/test_handled.py::test_a_lease_lost_while_the_handler_ran_is_made_up_for",
    ),
    "tells no handler that its lease is lost": bug(
        R + "heartbeat",
        "                self._tell(message, LOST)",
        "                pass",
        "tests/runtime/test_leases.py::test_the_handler_of_a_message_whose_lease_is_lost_is_told",
    ),
    "renews what is being settled": bug(
        R + "in_flight",
        "is message and not (message.sealed or message.lost)",
        "is message",
        "tests/runtime/test_leases.py::test_what_is_being_settled_or_was_settled_is_not_renewed",
    ),
    # Settlement.
    "deletes what was refused its copy": bug(
        R + "settlement",
        "            deletes += copied\n",
        "            deletes += batch\n",
    ),
    "copies a dead letter again when only its delete failed": bug(
        S, "if type(outcome) is Ack or copied:", "if type(outcome) is Ack:", "tests/runtime/test_settlement.py::test_a_copy_is_not_made_twice_when_the_delete_is_refused"
    ),
    "takes the failures of a request for those of the first entries": bug(
        R + "settlement",
        "    failures = {one.index: one for one in answer.failures}\n",
        "    failures = dict(enumerate(answer.failures))\n",
    ),
    "settles the first ten of a longer chunk only": bug(
        R + "settlement",
        "for batch in _requests(deletes):",
        "for batch in _requests(deletes[:10]):",
    ),
    "forgets that a handler was done when its delete fails": bug(
        R + "settlement",
        "        self._handled_cache.remember(message)\n        if self._in_flight.settle([message], Disposition.EXPIRED)",
        "        if self._in_flight.settle([message], Disposition.EXPIRED)",
        "tests/runtime/test_handled.py::test_a_delete_refused_for_good_is_made_up_for_when_the_message_comes_again",
    ),
    "acknowledges a Retry": bug(
        S, "        return _HIDE\n", "        return _DELETE\n"
    ),
    "leaves a Discard in the queue": bug(
        S,
        "return _DELETE if isinstance(outcome, Ack | Discard) else _LEAVE",
        "return _LEAVE",
        "tests/runtime/test_worker.py::test_discard_deletes_and_is_told_apart",
    ),
    "rounds the delay of a Retry down": bug(
        S, "math.ceil(min(float(MAX_DELAY), delay))", "int(min(float(MAX_DELAY), delay))",
        "tests/runtime/test_worker.py::test_retry_hides_for_its_delay_in_whole_seconds_rounded_up",
    ),
    # Attempts, outages and the circuit.
    "makes one attempt less than it was told": bug(
        C + "outcome", "if attempt >= self.max_attempts:", "if attempt >= self.max_attempts - 1:", "tests/test_outcome.py::test_an_unexpected_error_is_retried_until_the_last_attempt"
    ),
    "excuses no failure of an outage": bug(
        C + "consuming.attempts",
        "known.excused += not witnessed",
        "known.excused += False",
        "tests/consuming/test_witnesses.py::test_the_first_failure_after_an_outage_is_not_the_last",
    ),
    "takes a message's own success for a witness": bug(
        C + "consuming.attempts",
        "        self.failing.pop(message, None)\n",
        "",
        "tests/consuming/test_witnesses.py::test_a_message_is_no_witness_against_itself",
    ),
    "never ends an outage": bug(
        C + "consuming.attempts", "if now - known.since >= self._policy.outage:", "if False:",
        "tests/runtime/test_circuit.py::test_poison_alone_in_its_queue_is_dead_lettered_after_ten_minutes",
    ),
    "calls nothing back at the end of an outage": bug(
        R + "settler",
        "if self._calling_back and not self._settlement.hurried:",
        "if False:",
        "tests/runtime/test_circuit.py::test_the_end_of_an_outage_calls_back_what_is_hidden",
    ),
    # Isolation, wedge.
    "handles a suspect beside others": bug(
        R + "isolation",
        "or self._in_flight.count > len(self._held)",
        "",
        "tests/runtime/test_isolation.py::test_a_suspect_waits_until_nothing_else_is_in_flight",
    ),
    "holds a suspect for ever": bug(
        R + "isolation", "if message is self._running:", "if message is None:"
    ),
    "takes a wedged service for one that works": bug(
        R + "wedge", "return self._since is not None", "return False", "tests/runtime/test_wedge.py::test_it_says_so_with_the_place_and_gives_back_what_waits"
    ),
    # Stop.
    "loses what waits for a handler at the stop": bug(
        R + "pipeline",
        "        for message in waiting:\n            self.executor.put_back(message)\n        self.executor.end()",
        "        self.executor.end()",
    ),
    # FIFO groups.
    "makes all of a group ready at once": bug(
        R + "ready_queue", "group.waiting.append(message)", "self._offer(message)"
    ),
    "forgets who is on the way back": bug(
        R + "ready_queue", "if self._back and name in self._back:", "if False:"
    ),
    "hands all of a group to the thread that received them": bug(
        R + "run_to_completion",
        "return self._ready_queue.put if self._ordered else chunk.rest.append",
        "return chunk.rest.append",
    ),
    "puts two of one group into one request": bug(
        "messaging.batching",
        "self._groups.get(message.group, message.id) != message.id",
        "False",
        "tests/publishing/test_sender.py::test_in_order_two_events_of_a_group_never_share_a_request",
    ),
    # Transports.
    "keeps a connection that has more to say": bug(
        "messaging.aws.fast.http",
        "return Reply(int(data[9:12]), head, data[start:whole], len(data) == whole)",
        "return Reply(int(data[9:12]), head, data[start:whole], True)",
        "tests/aws/fast/test_pool.py::test_more_than_the_answer_is_dropped_with_its_connection",
    ),
    "takes an entry that was not named for accepted": bug(
        C + "aws.answers",
        "        if place not in good\n",
        "        if place in bad\n",
        "tests/aws/test_broken_answers.py::test_publish_raises_its_own_error_and_goes_on",
    ),
    "takes an answer without a MessageId for an acceptance": bug(
        "messaging.aws.fast.responses",
        'return b"<MessageId><" not in body',
        "return True",
        "tests/aws/fast/test_responses.py::test_an_acceptance_has_a_message_id",
    ),
    "remembers a good answer for any number of entries": bug(
        "messaging.aws.fast.calls",
        "if reply.body == self._good.get(count) and reply.status == 200:",
        "if self._good and reply.status == 200:",
        "tests/aws/fast/test_no_shifted_answers.py::test_a_good_answer_does_not_answer_for_a_later_one",
    ),
    # Publishing.
    "sends the whole batch again, and reports it by the old places": bug(
        P + "sender",
        "one._replace(unknown=one.index in self._doubtful) for one in failures",
        "one._replace(index=0) for one in failures[:1]",
    ),
    "forgets the entries that were refused for good": bug(
        P + "sender",
        " in refused]\n        return Answer(self._judged([*self._final, *refused]), error)",
        " in refused]\n        return Answer(self._judged(refused), error)",
        "tests/publishing/test_sender.py::test_what_is_refused_for_good_is_not_sent_again",
    ),
    "takes what no request reached for accepted": bug(
        P + "sender",
        "tally.unanswered(batch, tally.broken)",
        "pass",
        "tests/publishing/test_buffered.py::test_closing_waits_for_a_dead_topic_once_and_not_for_every_request",
    ),
    "buffered: tells an event's failure to nobody": bug(
        P + "buffered",
        "            outcome[failed.index] = self._report(replace(failed, index=0), tally.broken)",
        "            self._report(replace(failed, index=0), tally.broken)",
    ),
    # Outbox.
    "outbox: sends the next event of a key that is stuck": bug(
        "messaging.outbox.lanes",
        "        lane.behind.clear()\n",
        "        back = []\n",
        "tests/outbox/test_relay.py::test_a_failed_entry_blocks_its_key_only",
    ),
    "outbox: takes an unanswered request for published": bug(
        "messaging.outbox.relay",
        "            self._decide(entries, again, at_once=True)\n",
        "            self._decide(entries, ())\n",
    ),
    "outbox: loses the first entry of an unanswered request among several": bug(
        "messaging.outbox.relay",
        "            self._decide(entries, again, at_once=True)\n",
        "            self._decide(entries, again[1:], at_once=True)\n",
        "tests/outbox/test_under_way.py::test_no_entry_of_a_request_that_nobody_answered_is_lost",
    ),
    "outbox: forgets what was answered when the database goes away": bug(
        "messaging.outbox.relay",
        "            self._hear_out()\n",
        "            pass\n",
        "tests/outbox/test_under_way.py::test_what_was_under_way_when_the_database_went_away_is_not_sent_again",
    ),
    "outbox: takes no notice of who has a key in hand": bug(
        "messaging.outbox.claims",
        "AND \"key\" NOT IN (\n                    SELECT \"key\" FROM {self._table} WHERE {PENDING} AND free_at > :now\n                ) ORDER",
        "AND :now > 0 ORDER",
        "tests/outbox/test_relay.py::test_an_old_backlog_of_one_blocked_key_hides_no_other",
    ),
    # Idempotency.
    "idempotency: marks an event that failed": bug(
        C + "idempotency.middleware",
        "        except BaseException:\n            self._release(claim, call)",
        "        except BaseException:\n            self._complete(claim, call)",
    ),
    "idempotency: lets a duplicate in while the first is in progress": bug(
        C + "idempotency.memory", "            if now < expiry:\n", "            if False:\n",
        "tests/idempotency/test_middleware.py::test_a_duplicate_of_what_is_in_progress_comes_again_later",
    ),
    "idempotency: never gives back a claim": bug(
        C + "idempotency.middleware",
        "            self._store.release(claim)\n",
        "            pass\n",
        "tests/idempotency/test_middleware.py::test_what_each_ending_leaves",
    ),
    # Lambda.
    "lambda: answers with the first failure only": bug(
        C + "lambda_handler", 'for one in failed]}', 'for one in failed[:1]]}'
    ),
    "lambda: deletes what was not copied": bug(
        C + "lambda_handler",
        "settled[index] = Ack() if stands else self._again(deliveries[index])",
        "settled[index] = Ack()",
    ),
    "lambda: a group goes on behind one that failed": bug(
        C + "lambda_handler",
        "                groups.ended(one, outcome)\n",
        "",
    ),
    # Claim check, dead letters.
    "claim check: believes what the store gives": bug(
        C + "claimcheck",
        "if hashlib.sha256(data).hexdigest() != digest:",
        "if False:",
        "tests/test_claimcheck.py::test_what_can_never_be_read_is_dead_lettered",
    ),
    "claim check: publishes before the data stands": bug(
        C + "claimcheck", "        self._store.put(key, data)\n", "", "tests/test_claimcheck.py::test_big_data_goes_to_the_store_and_comes_back"
    ),
    "redrive: deletes letters that were refused": bug(
        C + "dead_letters.workbench",
        "        gone, left = self._delete(may_go)\n",
        "        gone, left = self._delete(letters)\n",
        "tests/dead_letters/test_workbench.py::test_a_letter_that_was_refused_stays",
    ),
}  # fmt: skip

WIRE: dict[str, Plant] = {
    "takes what a batch answer does not say for success": Plant(
        "messaging.aws.answers", "        if place not in good\n", "        if place in bad\n"
    ),
    "acknowledges what a BaseException ended in the receiving thread": Plant(
        R + "executor", "outcome = self._unexpected(message, error)", "outcome = Ack()"
    ),
    "leaves the last consumer open": Plant(
        R + "worker",
        "opened, self._opened = self._opened, []",
        "opened, self._opened = self._opened[:-1], []",
    ),
    "hands over the next of a group beside the first": Plant(
        R + "ready_queue", "group.waiting.append(message)", "self._offer(message)"
    ),
    "gives each dead letter a group of its own": Plant(
        "messaging.aws.messages", "delivery.group or delivery.message_id", "delivery.message_id"
    ),
    "leaves the reason out of a dead letter": Plant(
        "messaging.dead_letters.reason", "return {**original, **note}", "return {**original}"
    ),
}
"""Found by scenarios over real sockets and threads (`tests/chaos/sockets.py`)."""
