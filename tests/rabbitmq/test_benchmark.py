"""The benchmark on RabbitMQ runs and tells what it measured. No test looks at a time."""

from __future__ import annotations

import pytest

from benchmarks.rabbitmq import main


def test_the_benchmark_measures_and_cleans_up(
    rabbitmq_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--url", rabbitmq_url, "--events", "50", "--rounds", "1", "--only", "messaging"])

    said = capsys.readouterr().out
    assert "| messaging |" in said
    assert said.count(" us") == 2
