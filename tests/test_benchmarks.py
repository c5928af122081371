"""The benchmark runs, counts and draws what it should. No test looks at a time, but a late one."""

from __future__ import annotations

import http.client
import json
import math
import re
import select
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest

from benchmarks import __main__ as command
from benchmarks import callgrind, functions, parts, telemetry, tracing
from benchmarks.contract import Student
from benchmarks.control import Canned, canned_server
from benchmarks.databases import database_tables
from benchmarks.instructions import SOFTWARE_TASK_CLOCK, Instructions
from benchmarks.job import Job, latencies
from benchmarks.payload import ATTRIBUTES, CREDENTIALS, REGION, TOPIC_ARN, body, student
from benchmarks.picture import draw
from benchmarks.report import markdown, ratios
from benchmarks.roster import FAST, RAW, SUBJECTS, Environment, Subject
from benchmarks.sitting import Failed, run
from benchmarks.subjects import telemetry as telemetry_subject
from messaging.publishing.encoder import Encoder

ROOT = Path(__file__).parents[1]
MESSAGE = {"body": body(1), "attributes": ATTRIBUTES}


@pytest.fixture(scope="module")
def server() -> Iterator[Canned]:
    with canned_server() as canned:
        yield canned


@pytest.fixture
def canned(server: Canned) -> Canned:
    server.reset()
    return server


def client(canned: Canned, service: str) -> Any:
    make: Any = boto3.client
    return make(service, endpoint_url=canned.url, region_name=REGION, **CREDENTIALS)


def receive(sqs: Any, limit: int = 10, wait: int = 0) -> list[dict[str, Any]]:
    answer = sqs.receive_message(
        QueueUrl="http://localhost/0/bench-a", MaxNumberOfMessages=limit, WaitTimeSeconds=wait
    )
    return list(answer.get("Messages", []))


def test_what_was_published_is_told_as_a_queue_would_get_it(canned: Canned) -> None:
    entries = [
        {
            "Id": f"e{at}",
            "Message": text,
            "MessageAttributes": {"type": {"DataType": "String", "StringValue": "t & ü"}},
        }
        for at, text in enumerate(["plain", "ü=%26&.Id=x "])
    ]
    answer = client(canned, "sns").publish_batch(
        TopicArn=TOPIC_ARN, PublishBatchRequestEntries=entries
    )
    assert [one["Id"] for one in answer["Successful"]] == ["e0", "e1"]
    assert len({one["MessageId"] for one in answer["Successful"]}) == 2
    assert canned.last() == [
        {"body": "plain", "attributes": {"type": ["String", "t & ü"]}},
        {"body": "ü=%26&.Id=x ", "attributes": {"type": ["String", "t & ü"]}},
    ]
    counts = canned.counts()
    assert (counts["requests"], counts["entries"]) == ({"PublishBatch": 1}, {"PublishBatch": 2})


def test_a_stock_is_counted_down_each_message_under_its_own_receipt(canned: Canned) -> None:
    canned.load("bench-a", 13, [MESSAGE])
    sqs = client(canned, "sqs")
    first, second = receive(sqs), receive(sqs)
    assert (len(first), len(second), receive(sqs)) == (10, 3, [])
    assert len({one["ReceiptHandle"] for one in first + second}) == 13
    assert {one["Body"] for one in first + second} == {body(1)}
    assert first[0]["MessageAttributes"]["audience"]["StringValue"] == '["*"]'


def test_a_long_poll_is_woken_by_a_load(canned: Canned) -> None:
    got: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: got.extend(receive(client(canned, "sqs"), wait=20)))
    thread.start()
    while not canned.counts()["requests"].get("ReceiveMessage"):
        pass  # each look is a request to the server, which is what wakes it
    canned.load("bench-a", 2, [MESSAGE])
    thread.join(10)
    assert len(got) == 2


def test_waiting_for_deletes_ends_when_they_have_come(canned: Canned) -> None:
    ended = threading.Event()

    def wait() -> None:
        canned.wait("DeleteMessage", 3)
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    sqs, url = client(canned, "sqs"), "http://localhost/0/bench-a"
    entries = [{"Id": str(at), "ReceiptHandle": "r"} for at in range(2)]
    sqs.delete_message_batch(QueueUrl=url, Entries=entries)
    assert not ended.wait(0.05)
    sqs.delete_message(QueueUrl=url, ReceiptHandle="r")  # alone or in a batch: a delete
    assert ended.wait(10)
    thread.join()


def test_what_is_published_is_received_where_it_relays(canned: Canned) -> None:
    canned.relay("bench-a")
    client(canned, "sns").publish(TopicArn=TOPIC_ARN, Message="hello")
    assert [one["Body"] for one in receive(client(canned, "sqs"))] == ["hello"]


def test_the_raw_loop_sends_what_this_library_would_write() -> None:
    encode = Encoder(source="/bench", max_bytes=262_144)
    (ours,) = encode(Student(**student(7)))
    written, theirs = json.loads(ours.body), json.loads(body(7))
    assert list(written) == list(theirs)
    assert {**written["data"]} == theirs["data"]
    assert 350 < len(ours.body) < 600
    assert abs(len(ours.body) - len(body(7))) < 10
    assert {name: tuple(value) for name, value in ours.attributes.items()} == ATTRIBUTES


@pytest.mark.parametrize(
    ("name", "work"),
    [
        (RAW, "publish"),
        (RAW, "consume"),
        (FAST, "publish"),
        (FAST, "consume-async"),
        (FAST, "bill"),
    ],
)
def test_a_subject_does_its_work(canned: Canned, name: str, work: str) -> None:
    environment = Environment("project", Path(sys.executable))
    subject = next(one for one in environment.subjects() if one.name == name)
    job = Job(work=work, url=canned.url, events=40, warmup=20 * (work != "bill"), transport="fast")
    found = run(environment, subject, job)
    entries = canned.counts()["entries"]
    if work == "bill":
        assert found["PublishBatch"] == pytest.approx(0.1)
        assert found["DeleteMessageBatch"] >= 0.4
        assert entries["DeleteMessageBatch"] == 160
    else:
        assert found["events"] == 40
        assert found["cpu_us"] > 0
        assert entries["PublishBatch" if work == "publish" else "DeleteMessageBatch"] == 60


def test_a_subject_that_dies_says_why(canned: Canned) -> None:
    environment = Environment("project", Path(sys.executable))
    with pytest.raises(Failed, match="no-such-work"):
        run(environment, SUBJECTS[0], Job(work="no-such-work", url=canned.url, events=10))


def test_every_subject_can_be_started_for_each_of_its_works() -> None:
    for subject in SUBJECTS:
        text = (ROOT / "benchmarks" / "subjects" / f"{subject.module}.py").read_text()
        for work in subject.works:
            assert f'"{work}"' in text, f"{subject.module} has no work {work}"


def test_who_lacks_a_package_is_left_out() -> None:
    class Bare(Environment):
        @property
        def _facts(self) -> Any:  # without starting a Python
            return ["boto3", "pydantic"], {"python": "3.11.0"}, []

    found: list[Subject] = list(Bare("project", Path("python")).subjects())
    assert [one.name for one in found] == [RAW]


def runs() -> list[dict[str, Any]]:
    common = {"python": "3.13", "environment": "project", "server_cpu_us": 9.0, "requests": 0.1}
    figures = [(FAST, 30.0), (FAST, 20.0), (FAST, 25.0), (RAW, 250.0), ("fanferro", 40.0)]
    found: list[dict[str, Any]] = [
        {**common, "subject": name, "work": "publish", "cpu_us": us, "instructions": None}
        for name, us in figures
    ]
    found.append(
        {**common, "subject": FAST, "work": "bill", "PublishBatch": 0.1}
        | {"ReceiveMessage": 0.404, "DeleteMessageBatch": 0.4, "ChangeMessageVisibilityBatch": 0.0}
    )
    return found


def test_the_table_has_medians_and_spread() -> None:
    machine = {"cpu": "a cpu", "cpus": 2, "system": "Linux", "load": 0.5}
    results = {
        "date": "2026-11-24",
        "command": "make bench",
        "machine": machine,
        "versions": {"project": {"python": "3.13.0"}},
        "runs": runs(),
    }
    lines = markdown(results).splitlines()
    assert f"| {FAST} | 3.13 | 25.0 (20.0 to 30.0) |  |  | 9.00 |" in lines
    assert f"| {FAST}, whole | 0.100 | 0.404 | 0.400 | 0.000 | 0.904 | 0.9 | +0.4 % |" in lines
    assert "Instructions" not in "".join(lines)  # nobody counted any


def test_ratios_are_of_the_same_python() -> None:
    other = [{**one, "python": "3.11"} for one in runs() if one["subject"] == RAW]
    assert ratios([*runs(), *other]) == {
        f"{RAW}, publish : {FAST}, publish (Python 3.13)": 10.0,
        f"fanferro, publish : {FAST}, publish (Python 3.13)": 1.6,
    }


def test_the_picture_is_svg_with_a_bar_for_each() -> None:
    root = ElementTree.fromstring(draw(runs()))
    space = "{http://www.w3.org/2000/svg}"
    widths = [float(bar.attrib["width"]) for bar in root.iter(f"{space}rect")]
    assert widths == sorted(widths)
    assert widths[-1] == pytest.approx(10 * widths[0], rel=0.01)
    assert {FAST, RAW, "fanferro"} <= {text.text for text in root.iter(f"{space}text")}


def test_the_picture_is_there_in_both_languages_with_the_same_figures() -> None:
    english, portuguese = (
        re.sub(r"<style>.*?</style>", "", (ROOT / folder / "assets/performance.svg").read_text())
        for folder in ("docs", "docs/pt")
    )
    assert re.findall(r">(\d+)<", english) == re.findall(r">(\d+)<", portuguese) != []
    assert re.findall(r"<rect[^>]+>", english) == re.findall(r"<rect[^>]+>", portuguese)
    assert "Publish: CPU microseconds an event" in english
    assert "Publicar: microssegundos de CPU por evento" in portuguese
    assert "Publicar: microssegundos de CPU por evento" in draw(runs(), 1)


def test_latencies_are_in_milliseconds() -> None:
    found = latencies([number / 1000 for number in range(1, 101)])
    assert (found["samples"], found["p50_ms"], found["p99_ms"]) == (100, 51.0, 100.0)
    assert math.isnan(latencies([])["p50_ms"])


def test_instructions_are_counted_or_not_at_all() -> None:
    counter = Instructions(SOFTWARE_TASK_CLOCK)
    try:
        before = counter.read()
        total = sum(range(100_000))
        after = counter.read()
        assert total
        assert (before is None) == (after is None)
        assert before is None or after is None or before < after
    finally:
        counter.close()
    assert counter.read() is None


def test_the_command_prints_a_table_and_writes_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", str(tmp_path / "runs.json"), "--svg", str(tmp_path / "cpu.svg")]
    command.main(["--smoke", "--only", "raw", "--work", "publish", "--events", "100", *files])
    assert f"| {RAW} |" in capsys.readouterr().out
    results = json.loads((tmp_path / "runs.json").read_text())
    assert {one["work"] for one in results["runs"]} == {"publish", "publish-apart"}
    assert results["versions"]["project"]["boto3"]
    assert ElementTree.parse(tmp_path / "cpu.svg").getroot().tag.endswith("svg")


def test_far_queues_have_a_table_of_rates_by_delay(
    canned: Canned, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--smoke", "--delay", "0", "--delay", "1", "--only", "publish", "--events", "200"]
    command.main(arguments)
    printed = capsys.readouterr().out
    assert "| | 0 ms | 1 ms |" in printed
    (row,) = [one for one in printed.splitlines() if one.startswith("| messaging, publish_many")]
    assert row.count(" us, 0.10 requests)") == 2


def test_an_answer_is_late_by_the_delay_and_the_controls_are_not(canned: Canned) -> None:
    canned.load("bench-a", 20, [MESSAGE])
    canned.delay(3600)
    asking = http.client.HTTPConnection(urlsplit(canned.url).netloc)
    try:
        body = '{"QueueUrl": "http://localhost/0/bench-a", "MaxNumberOfMessages": 10}'
        asking.request("POST", "/", body, {"X-Amz-Target": "AmazonSQS.ReceiveMessage"})
        while not canned.counts()["requests"].get("ReceiveMessage"):
            pass  # each look is answered at once
        assert asking.sock is not None
        assert not select.select([asking.sock], [], [], 0)[0]
    finally:
        asking.close()
        canned.delay(0)
    assert len(receive(client(canned, "sqs"))) == 10


def test_the_page_takes_new_figures_where_the_old_ones_were() -> None:
    page = command.PAGE.read_text()
    once = command._inserted(page, "| today |")
    twice = command._inserted(once, "| tomorrow |")
    assert "| today |" in once
    assert "| today |" not in twice
    assert twice == command._inserted(page, "| tomorrow |")


def test_a_page_without_its_marks_is_not_written() -> None:
    with pytest.raises(SystemExit, match="has lost its marks"):
        command._inserted("# a page", "figures")


def test_parts_measure_a_queue_of_each_kind(capsys) -> None:
    assert parts.main(["--events", "100", "--rounds", "1", "--only", "fifo"]) == 0
    rows = dict(line.strip("| ").split(" | ") for line in capsys.readouterr().out.split("\n")[2:6])
    assert rows.keys() >= {"standard queue", "FIFO, 1,000 groups", "FIFO, one group"}
    assert all(float(cost) > 0 for cost in rows.values())


def test_files_measure_events_of_rows_and_of_requests(capsys) -> None:
    assert parts.main(["--events", "100", "--rounds", "1", "--only", "files"]) == 0
    rows = dict(line.strip("| ").split(" | ") for line in capsys.readouterr().out.split("\n")[2:5])
    assert rows.keys() == {"a CSV row", "JSON", "a dict"}
    assert all(float(cost) > 0 for cost in rows.values())


def test_processes_are_counted_for_a_time_and_not_to_an_end(canned: Canned) -> None:
    assert parts.rate(canned, 1, seconds=0.3) > 0


def test_with_jitter_answers_come_when_chance_says(canned: Canned) -> None:
    canned.delay(0.0, jitter=0.03)
    sqs, taken = client(canned, "sqs"), []
    try:
        for _ in range(8):
            began = time.perf_counter()
            sqs.receive_message(QueueUrl="http://localhost/0/bench-a", WaitTimeSeconds=0)
            taken.append(time.perf_counter() - began)
    finally:
        canned.delay(0.0)
    assert max(taken) > 0.01, "eight answers, each up to 30 ms late"


def test_what_tracing_adds_is_measured_in_four_ways() -> None:
    measured = tracing.measure(20)
    assert tuple(measured) == tracing.ROWS
    assert all(published > 0 and handled > 0 for published, handled in measured.values())


def test_what_the_sdk_itself_costs_is_measured_beside() -> None:
    measured = tracing.bare(20)
    assert len(measured) == 3
    assert all(spent > 0 for spent in measured.values())


def test_instructions_are_those_between_two_marks() -> None:
    """With files as valgrind 3.19 writes them."""

    def run(under: tuple[str, ...]) -> str:
        assert under[0] == "valgrind"
        _, _, out = under[-1].partition("=")
        trigger = "desc: Trigger: --dump-before=getppid"
        for number, count in enumerate((900, 31, 7, 32), 1):
            text = f"version: 1\n{trigger}\nevents: Ir\nsummary: {count}\ntotals: {count}\n"
            Path(f"{out}.{number}").write_text(text)
        return "done"

    assert callgrind.counted(run) == ("done", [31, 7, 32])


@pytest.mark.parametrize(
    "work", ["publish-traced", "publish-roots", "consume-traced", "consume-async-traced"]
)
def test_what_tracing_adds_to_a_request_is_measured_by_turns(work: str, canned: Canned) -> None:
    job = Job(work=work, url=canned.url, events=10, warmup=10, transport="fast")
    found = run(Environment("project", Path(sys.executable)), telemetry.SUBJECT, job)
    assert min(found["off"], found["on"], found["ratio"]) > 0
    assert found["order"] == [True, False, False, True] * (telemetry_subject.TURNS // 2)


@pytest.mark.parametrize("work", ["outbox-deleting", "sqlite-chunk"])
def test_a_database_at_one_end_is_measured(work: str, canned: Canned, postgres: str) -> None:
    job = Job(work=work, url=canned.url, events=40, warmup=20, transport="fast", database=postgres)
    subject = Subject(name=work, module="rows", works=(work,), needs=())
    found = run(Environment("project", Path(sys.executable)), subject, job)
    assert found["events"] == 40
    sent = canned.counts()["entries"].get("PublishBatch", 0)
    assert sent == (60 if work == "outbox-deleting" else 0)


def test_figures_of_databases_are_a_table_and_nobody_is_none() -> None:
    runs = [
        {"work": "outbox", "subject": "relay", "python": "3.13", "wall_us": 50.0, "cpu_us": 30.0}
    ]
    assert "| relay | 20,000 | 50 | 30 |" in database_tables(runs)
    assert database_tables([]) == ""


def test_tls_stands_beside_plain_http(capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["--smoke", "--work", "tls", "--only", "messaging, fast", "--events", "100"])
    printed = capsys.readouterr().out
    rows = [one for one in printed.splitlines() if one.startswith("| consume, messaging, fast |")]
    assert [len(one.strip("| ").split(" | ")) for one in rows] == [4]
    assert "| publish, messaging, fast |" in printed


def test_a_cold_start_is_one_of_compiled_modules_or_of_none(tmp_path: Path) -> None:
    ways = functions.environments(str(tmp_path))
    assert functions.cold(functions.OURS, ways["not compiled"]) > 0
    assert not [*tmp_path.rglob("*.pyc")]
    assert functions.cold(functions.OURS, ways["compiled"]) > 0
    assert [*tmp_path.rglob("lambda_handler.*.pyc")], (
        "PYTHONDONTWRITEBYTECODE hid the library's own"
    )
