"""What is told of an event of a buffer that was not accepted."""

from __future__ import annotations

import pytest

from messaging.errors import PublishError
from messaging.publishing.publisher import Publisher
from tests.scripted import Noted, ScriptedTopic, wrong


def test_the_error_of_one_event_tells_of_that_one_only() -> None:
    topic = ScriptedTopic(wrong(1))
    with Publisher(topic, source="/tests").buffered(linger=10) as buffered:
        futures = [buffered.publish(Noted(number=n), id=f"n{n}") for n in range(10)]
        with pytest.raises(PublishError) as caught:
            futures[1].result(10)
    result = caught.value.result
    assert result is not None
    counts = (result.consumed, result.accepted, result.declined, result.copies)
    assert counts == (1, 0, 0, 0)
    [failed] = result.failed
    assert (failed.id, failed.unknown) == ("n1", False)


def test_an_event_whose_request_was_broken_off_may_have_been_accepted() -> None:
    with Publisher(ScriptedTopic(SystemExit(1)), source="/tests").buffered(linger=0) as buffered:
        future = buffered.publish(Noted(number=1), id="n1")
        with pytest.raises(PublishError, match="may have been") as caught:
            future.result(10)
    result = caught.value.result
    assert result is not None
    [failed] = result.failed
    assert (failed.index, failed.id, failed.unknown) == (0, "n1", True)
