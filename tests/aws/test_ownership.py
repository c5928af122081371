"""Many teams at one topic: each topology changes its own, and nobody hurts another.

On ministack and on moto, each as a process of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from messaging.aws import apply, connect, plan
from messaging.aws.clients import Clients
from messaging.aws.desired import queues as desired_queues
from messaging.aws.ownership import BEFORE, CONTRACT, OWNER, SERVICE, TOPIC
from messaging.aws.queues import Queues, Standing
from messaging.consuming.consumer import Consumer, handles
from messaging.errors import OwnershipError, TopicNotFound
from messaging.event import Event
from messaging.publishing.publisher import Publisher
from messaging.settings import Settings
from messaging.topology import Topic, Topology
from tests.aws.account import Account, details, told


class Matriculado(Event, type="aluno.matriculado", version=3):
    numero: int


class Saiu(Event, type="aluno.saiu", version=1):
    numero: int


class Biblioteca(Consumer):
    @handles
    def abrir(self, aluno: Matriculado) -> None: ...

    @handles
    def recolher(self, aluno: Saiu) -> None: ...


class Financeiro(Consumer):
    @handles
    def cobrar(self, aluno: Matriculado) -> None: ...


class Acervo(Consumer):
    """The library under a new name; or the half of it that opens accounts."""

    @handles
    def abrir(self, aluno: Matriculado) -> None: ...


class Emprestimos(Consumer):
    @handles
    def recolher(self, aluno: Saiu) -> None: ...


SECRETARIA = Topology.producer("alunos", owner="secretaria")
BIBLIOTECA = Topology.of(Biblioteca, topic="alunos", owner="leitura")
FINANCEIRO = Topology.of(Financeiro, topic="alunos")  # owned by "financeiro", the service's name
THREE = ("", "-dlq", "-undelivered")


@pytest.fixture
def account(server, session, prefix) -> Account:
    return Account(server, session, prefix)


@pytest.fixture
def exact(ministack, session, prefix) -> Account:
    """Where `plan` is to have nothing to do: moto forgets RedriveAllowPolicy."""
    return Account(ministack, session, prefix)


def everything(account: Account) -> dict[str, Any]:
    """What stands at the topic, to the last attribute and tag, but for what a clock changes."""
    return {
        "topic": account.sns.get_topic_attributes(TopicArn=account.topic)["Attributes"].get(
            "MaximumMessageSize"
        ),
        "topic tags": account.topic_tags(),
        "subscriptions": {
            name: account.subscription(name.removeprefix(account.prefix))
            for name in account.subscriptions()
        },
        "queues": {
            name: (
                account.tags(name),
                {
                    key: value
                    for key, value in account.attributes(name).items()
                    if key != "LastModifiedTimestamp"
                },
            )
            for name in account.names()
        },
    }


def of_service(service: str, found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        kind: {name: one for name, one in found[kind].items() if f"alunos-{service}" in name}
        for kind in ("subscriptions", "queues")
    }


def three(service: str) -> set[str]:
    return {f"alunos-{service}{suffix}" for suffix in THREE}


def publish(account: Account, *events: Event) -> None:
    with closing(connect(account.settings, session=account.session)) as broker:
        Publisher(broker.topic(), source="/secretaria").publish_many(events)


def visible(account: Account, service: str) -> int:
    with closing(connect(account.settings, session=account.session)) as broker:
        return broker.queue(service).depth().visible


def send(account: Account, name: str, **more: Any) -> None:
    account.sqs.send_message(QueueUrl=account.url(name), MessageBody="x", **more)


# What a topology is a part of


def test_a_service_applies_its_own_three_queues_and_subscription_and_nothing_of_the_topic(account):
    account.apply(SECRETARIA)
    tags = account.topic_tags()
    done = account.apply(BIBLIOTECA)
    assert [(one.action, one.kind) for one in done.changes] == [
        ("other", "topic"),
        *[("create", "queue")] * 3,
        ("create", "subscription"),
    ]
    assert details(done, "other", "alunos") == "not managed here"
    assert account.names() == three("biblioteca")
    assert account.topic_tags() == tags == {TOPIC: f"{account.prefix}alunos", OWNER: "secretaria"}


def test_resources_carry_whose_they_are(account):
    account.apply(SECRETARIA)
    account.apply(BIBLIOTECA)
    account.apply(FINANCEIRO)
    common = {TOPIC: f"{account.prefix}alunos", SERVICE: "biblioteca", OWNER: "leitura"}
    contract = "aluno.matriculado/3 aluno.saiu/1"
    assert account.tags("alunos-biblioteca") == {**common, CONTRACT: contract}
    assert account.tags("alunos-biblioteca-dlq") == common
    assert account.tags("alunos-biblioteca-undelivered") == common
    assert account.tags("alunos-financeiro")[OWNER] == "financeiro"


def test_one_teams_apply_leaves_every_other_teams_queues_as_they_are(account):
    """What a version before owners did with `--delete --yes`: every other team's were gone."""
    account.apply(SECRETARIA)
    account.apply(FINANCEIRO)
    before = everything(account)
    done = account.apply(BIBLIOTECA)
    account.apply(SECRETARIA)
    after = everything(account)
    assert of_service("financeiro", after) == of_service("financeiro", before)
    assert after["topic tags"] == before["topic tags"]
    assert told(done, "other")[1:] == [
        ("other", "subscription", f"{account.prefix}alunos-financeiro")
    ]
    assert "delete" not in {one.action for one in done.changes}


def test_the_topics_owner_is_told_whose_each_subscription_is(account):
    account.apply(SECRETARIA)
    account.apply(BIBLIOTECA)
    account.apply(FINANCEIRO)
    gone = account.sqs.create_queue(QueueName=f"{account.prefix}alunos-gone")["QueueUrl"]
    account.sns.subscribe(
        TopicArn=account.topic, Protocol="sqs", Endpoint=account.arn("alunos-gone")
    )
    account.sqs.delete_queue(QueueUrl=gone)
    seen = account.plan(SECRETARIA)
    assert details(seen, "other", "alunos-biblioteca") == "not managed here; owner: leitura"
    assert details(seen, "other", "alunos-financeiro") == "not managed here; owner: financeiro"
    assert "its queue does not exist" in details(seen, "other", "alunos-gone")
    assert account.plan(BIBLIOTECA).changes[-1].details == ("not managed here",)


def test_a_service_that_publishes_bigger_messages_than_the_topic_takes_is_told(exact):
    exact.apply(SECRETARIA)
    big = Topology.of(Biblioteca, topic=Topic(name="alunos", max_bytes=1_048_576), owner="leitura")
    assert "MaximumMessageSize: 262144, and 1048576" in details(exact.plan(big), "drift", "alunos")
    raised = Topology.producer(Topic(name="alunos", max_bytes=1_048_576), owner="secretaria")
    exact.apply(raised)
    # Who says nothing of the size has nothing against a bigger one.
    assert exact.plan(BIBLIOTECA).changes[0].action == "other"
    exact.apply(BIBLIOTECA)
    assert not [one for one in exact.plan(raised).changes if one.action == "change"]


def test_applied_by_all_nobody_has_anything_left_to_do(exact):
    all_of_them = (SECRETARIA, BIBLIOTECA, FINANCEIRO)
    for one in all_of_them:
        exact.apply(one)
    for one in all_of_them:
        assert not exact.plan(one).pending


# A service that is deployed before the topic exists


def test_before_the_topic_exists_nothing_is_created_and_the_error_says_what_to_wait_for(account):
    for use in (account.plan, account.apply):
        with pytest.raises(TopicNotFound) as error:
            use(BIBLIOTECA)
        said = str(error.value)
        assert f"topic {account.prefix}alunos does not exist in sa-east-1" in said
        assert "owns_topic=True" in said
        assert "--wait" in said
    assert account.names() == set()


def test_an_apply_that_waits_goes_on_when_the_topic_is_there(exact, proxy):
    waiting = exact.settings.model_copy(update={"endpoint_url": proxy.url})
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(apply, BIBLIOTECA, waiting, session=exact.session, wait=60)
        while not proxy.asked("GetTopicAttributes"):
            assert not done.done()
        exact.apply(SECRETARIA)
        assert done.result().pending
    assert exact.names() == three("biblioteca")
    assert not exact.plan(BIBLIOTECA).pending


def test_a_local_server_may_create_the_topic_for_its_owner_to_take(exact):
    """As `messaging local` does: a service's repository alone is enough to work on it."""
    big = Topology.of(Biblioteca, topic=Topic(name="alunos", max_bytes=1_048_576), owner="leitura")
    done = exact.apply(big, create_topic=True)
    assert done.changes[0].action == "create"
    assert exact.topic_tags() == {}
    assert exact.plan(big).changes[0].action == "other"
    exact.apply(Topology.producer(big.topic, owner="secretaria"))
    assert exact.topic_tags()[OWNER] == "secretaria"


# Another owner


INTRUDER = Topology.of(Biblioteca, topic="alunos", owner="outra equipe")


@pytest.mark.parametrize("name", THREE)
def test_another_owners_queue_is_not_touched_and_neither_are_its_neighbours(account, name):
    account.apply(SECRETARIA)
    account.apply(INTRUDER)
    own = [one for one in THREE if one != name]
    for one in own:  # as if only one of the three were another's
        account.sqs.tag_queue(
            QueueUrl=account.url(f"alunos-biblioteca{one}"), Tags={OWNER: "leitura"}
        )
    account.set("alunos-biblioteca", VisibilityTimeout="7")
    before = everything(account)
    for use in (account.plan, account.apply):
        with pytest.raises(OwnershipError) as error:
            use(BIBLIOTECA)
        assert f"alunos-biblioteca{name} is owned by 'outra equipe'" in str(error.value)
        assert "this topology by 'leitura'" in str(error.value)
        assert "--take-over" in str(error.value)
    assert everything(account) == before


def test_a_service_that_is_handed_over_to_another_team(account):
    """The new team takes it over once; from then on the old one is refused."""
    account.apply(SECRETARIA)
    account.apply(BIBLIOTECA)
    publish(account, Matriculado(numero=1))
    with pytest.raises(OwnershipError):
        account.apply(INTRUDER)
    seen = account.plan(INTRUDER, take_over=True)
    assert f"tag {OWNER}: leitura -> outra equipe" in details(seen, "change", "alunos-biblioteca")
    assert account.apply(INTRUDER, take_over=True).changes == seen.changes
    assert {account.tags(name)[OWNER] for name in three("biblioteca")} == {"outra equipe"}
    assert visible(account, "biblioteca") == 1  # with what waits in it
    account.apply(INTRUDER)  # and without the flag
    with pytest.raises(OwnershipError, match="owned by 'outra equipe'"):
        account.apply(BIBLIOTECA)


def test_another_owners_topic_is_not_touched(account):
    account.apply(SECRETARIA)
    before = everything(account)
    other = Topology.producer(Topic(name="alunos", max_bytes=1_048_576), owner="plataforma")
    whole = Topology.of(Biblioteca, topic="alunos", owns_topic=True)
    for refused in (other, whole):
        with pytest.raises(OwnershipError, match=r"topic .*alunos is owned by 'secretaria'"):
            account.apply(refused)
    assert everything(account) == before
    account.apply(other, take_over=True)
    assert account.topic_tags()[OWNER] == "plataforma"
    with pytest.raises(OwnershipError):
        account.apply(SECRETARIA)


def test_two_services_whose_queues_have_one_name_are_refused_even_a_take_over(account):
    """Service "2-financeiro" of "alunos", and "financeiro" of "alunos-2"."""

    class Second(Consumer):
        service = "2-financeiro"

        @handles
        def cobrar(self, aluno: Matriculado) -> None: ...

    account.apply(Topology.producer("alunos-2"))
    account.apply(Topology.of(Financeiro, topic="alunos-2"))
    account.apply(SECRETARIA)
    before = everything(account)
    with pytest.raises(OwnershipError, match=r"service 'financeiro' of topic .*alunos-2"):
        account.apply(Topology.of(Second, topic="alunos"), take_over=True)
    assert everything(account) == before


def test_whoever_creates_a_queue_a_moment_later_is_refused(account):
    """Both looked, and neither saw a queue: the tags of the first are not overwritten."""
    account.apply(SECRETARIA)
    with closing(Clients(account.settings, account.session)) as clients:
        place, mine = clients.place(), INTRUDER.prefixed(account.prefix)
        account.apply(BIBLIOTECA)
        before = everything(account)
        for wanted in desired_queues(mine, place, account.topic):
            with pytest.raises(OwnershipError):
                list(Queues(clients).settle(wanted, Standing(None, {}), write=True))
    assert everything(account) == before


# At once


def test_two_services_and_their_producer_that_are_applied_at_once_end_as_one_after_the_other(exact):
    exact.apply(SECRETARIA)
    everybody = (SECRETARIA, BIBLIOTECA, FINANCEIRO) * 3
    with ThreadPoolExecutor(len(everybody)) as pool:
        done = [pool.submit(exact.apply, one) for one in everybody]
    for one in done:
        one.result()
    assert exact.names() == three("biblioteca") | three("financeiro")
    assert len(exact.subscriptions()) == 2
    for each in everybody:
        assert not exact.plan(each).pending


def test_a_whole_map_and_its_parts_may_be_applied_at_once_by_one_owner(exact):
    """A repository that is being split: the same owner says the same of the same things."""
    whole = Topology.of(Biblioteca, Financeiro, topic="alunos", owner="escola", owns_topic=True)
    part = Topology.of(Biblioteca, topic="alunos", owner="escola")
    exact.apply(whole)
    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(exact.apply, one) for one in (whole, part) * 3]
    for one in done:
        one.result()
    assert not exact.plan(whole).pending
    assert not exact.plan(part).pending


# What a version before owners made


def by_an_older_version(account: Account, topology: Topology) -> None:
    """What it left: the same queues, with the one tag that it knew."""
    account.apply(topology)
    for name in account.names():
        url = account.url(name)
        account.sqs.untag_queue(QueueUrl=url, TagKeys=[TOPIC, SERVICE, OWNER, CONTRACT])
        account.sqs.tag_queue(QueueUrl=url, Tags={BEFORE: f"{account.prefix}alunos"})
    account.sns.untag_resource(ResourceArn=account.topic, TagKeys=[TOPIC, OWNER])
    account.sns.tag_resource(
        ResourceArn=account.topic, Tags=[{"Key": BEFORE, "Value": f"{account.prefix}alunos"}]
    )


def an_older_version_would_delete(account: Account, *needed: str) -> set[str]:
    """Its rule: every queue with its tag that its topology does not need."""
    return {
        name
        for name in account.names()
        if account.tags(name).get(BEFORE) == f"{account.prefix}alunos"
        and name.removeprefix("alunos-").partition("-")[0] not in needed
    }


OLD = Topology.of(Biblioteca, Financeiro, topic="alunos", owns_topic=True)


def test_what_an_older_version_made_is_taken_by_whose_service_has_the_name_and_told(account):
    by_an_older_version(account, OLD)
    seen = account.plan(BIBLIOTECA)
    said = details(seen, "change", "alunos-biblioteca")
    assert f"tag {OWNER}: not set -> leitura" in said
    assert f"tag {BEFORE}: removed" in said
    before = everything(account)
    account.apply(BIBLIOTECA)
    assert BEFORE not in account.tags("alunos-biblioteca")
    assert account.tags("alunos-biblioteca")[OWNER] == "leitura"
    assert of_service("financeiro", everything(account)) == of_service("financeiro", before)
    account.apply(SECRETARIA)
    assert account.topic_tags() == {TOPIC: f"{account.prefix}alunos", OWNER: "secretaria"}


def test_an_older_version_no_longer_finds_what_it_would_delete(account):
    by_an_older_version(account, OLD)
    assert an_older_version_would_delete(account, "biblioteca") == three("financeiro")
    account.apply(FINANCEIRO)
    assert an_older_version_would_delete(account, "biblioteca") == set()


def test_a_service_still_applied_by_an_older_version_is_its_owners_all_the_same(account):
    """An older apply sets its own tag again, and takes nothing of the new ones away."""
    account.apply(SECRETARIA)
    account.apply(BIBLIOTECA)
    account.sqs.tag_queue(
        QueueUrl=account.url("alunos-biblioteca"), Tags={BEFORE: f"{account.prefix}alunos"}
    )
    with pytest.raises(OwnershipError):
        account.apply(INTRUDER)
    account.apply(BIBLIOTECA)
    assert BEFORE not in account.tags("alunos-biblioteca")


# Removing


def test_removing_shows_first_and_deletes_the_subscription_the_queue_and_the_dead_letters(
    account, wire_before
):
    account.apply(SECRETARIA)
    account.apply(BIBLIOTECA)
    account.apply(FINANCEIRO)
    before = everything(account)
    shown = account.remove(BIBLIOTECA, "biblioteca", dry_run=True)
    assert [one.action for one in shown.changes] == ["delete"] * 4
    assert "sent nothing that is published from now on" in shown.changes[0].details[0]
    assert everything(account) == before

    wire_before.requests.clear()
    settings = account.settings
    account.settings = settings.model_copy(update={"endpoint_url": wire_before.url})
    done = account.remove(BIBLIOTECA, "biblioteca")
    account.settings = settings
    assert done.changes == shown.changes
    deleted = [
        (action, params.get("QueueUrl", "").rpartition("/")[2].removeprefix(account.prefix))
        for action, params in wire_before.requests
        if action in ("Unsubscribe", "DeleteQueue")
    ]
    assert deleted == [
        ("Unsubscribe", ""),
        ("DeleteQueue", "alunos-biblioteca"),
        ("DeleteQueue", "alunos-biblioteca-dlq"),
        ("DeleteQueue", "alunos-biblioteca-undelivered"),
    ]
    assert account.names() == three("financeiro")
    assert of_service("financeiro", everything(account)) == of_service("financeiro", before)
    assert set(account.subscriptions()) == {f"{account.prefix}alunos-financeiro"}
    assert account.remove(BIBLIOTECA, "biblioteca").changes == ()


def hold_visible(account: Account) -> str:
    send(account, "alunos-biblioteca")
    return "1 message (1 visible, 0 in flight, 0 delayed)"


def hold_in_flight(account: Account) -> str:
    send(account, "alunos-biblioteca")
    url = account.url("alunos-biblioteca")
    assert account.sqs.receive_message(QueueUrl=url, VisibilityTimeout=600)["Messages"]
    return "1 message (0 visible, 1 in flight, 0 delayed)"


def hold_delayed(account: Account) -> str:
    send(account, "alunos-biblioteca", DelaySeconds=600)
    return "1 message (0 visible, 0 in flight, 1 delayed)"


def hold_dead_letters(account: Account) -> str:
    send(account, "alunos-biblioteca-dlq")
    send(account, "alunos-biblioteca-dlq")
    return "2 messages (2 visible, 0 in flight, 0 delayed)"


def hold_undelivered(account: Account) -> str:
    send(account, "alunos-biblioteca-undelivered")
    return "1 message (1 visible, 0 in flight, 0 delayed)"


@pytest.mark.parametrize(
    "hold", [hold_visible, hold_in_flight, hold_delayed, hold_dead_letters, hold_undelivered]
)
def test_a_service_that_holds_messages_is_kept_whole_unless_they_may_be_lost(account, hold):
    account.apply(SECRETARIA)
    account.apply(BIBLIOTECA)
    counted = hold(account)
    for dry_run in (True, False):
        seen = account.remove(BIBLIOTECA, "biblioteca", dry_run=dry_run)
        assert {one.action for one in seen.changes} == {"keep"}
        assert [one.details[0] for one in seen.kept if "holds" in one.details[0]] == [
            f"holds {counted}"
        ]
        assert not seen.pending
    assert account.names() == three("biblioteca")
    assert len(account.subscriptions()) == 1
    done = account.remove(BIBLIOTECA, "biblioteca", lose_messages=True)
    assert f"{counted} lost for good" in [line for one in done.changes for line in one.details]
    assert account.names() == set()
    assert account.subscriptions() == {}


def test_what_arrives_while_a_service_is_removed_keeps_its_queue(exact, proxy):
    exact.apply(SECRETARIA)
    exact.apply(BIBLIOTECA)
    original, settings = proxy._answer, exact.settings

    def late(handler: Any, body: bytes) -> Any:
        if b"Action=Unsubscribe" in body:
            send(exact, "alunos-biblioteca")
        return original(handler, body)

    proxy._answer = late
    exact.settings = settings.model_copy(update={"endpoint_url": proxy.url})
    done = exact.remove(BIBLIOTECA, "biblioteca")
    exact.settings = settings
    assert told(done, "delete", "keep") == [
        ("delete", "subscription", f"{exact.prefix}alunos-biblioteca"),
        ("keep", "queue", f"{exact.prefix}alunos-biblioteca"),
    ]
    assert exact.names() == three("biblioteca")


def test_what_a_removal_left_half_done_is_finished(account):
    account.apply(SECRETARIA)
    account.apply(BIBLIOTECA)
    (arn,) = account.subscriptions().values()
    account.sns.unsubscribe(SubscriptionArn=arn)
    account.sqs.delete_queue(QueueUrl=account.url("alunos-biblioteca"))
    account.remove(BIBLIOTECA, "biblioteca")
    assert account.names() == set()


def test_another_owners_service_is_not_removed(account):
    account.apply(SECRETARIA)
    account.apply(BIBLIOTECA)
    account.apply(FINANCEIRO)
    before = everything(account)
    for topology in (INTRUDER, FINANCEIRO, SECRETARIA):
        for dry_run in (True, False):
            with pytest.raises(OwnershipError, match="owned by 'leitura'"):
                account.remove(topology, "biblioteca", dry_run=dry_run, lose_messages=True)
    with pytest.raises(OwnershipError, match="owned by 'financeiro'"):
        account.remove(BIBLIOTECA, "financeiro")
    assert everything(account) == before
    # Of a team that is gone, say: whoever owns the topic says so.
    account.remove(SECRETARIA, "biblioteca", take_over=True)
    assert account.names() == three("financeiro")


def test_a_queue_that_says_nothing_of_its_owner_is_removed_by_whose_service_it_is_only(account):
    by_an_older_version(account, OLD)
    account.sqs.create_queue(QueueName=f"{account.prefix}alunos-planilhas")  # of somebody else
    for topology, service in ((FINANCEIRO, "biblioteca"), (OLD, "planilhas")):
        with pytest.raises(OwnershipError, match="has no owner's tag"):
            account.remove(topology, service)
    assert account.names() == three("biblioteca") | three("financeiro") | {"alunos-planilhas"}
    account.remove(FINANCEIRO, "financeiro")
    # And by who has the topic, whose one map it was.
    account.remove(Topology.producer("alunos"), "biblioteca")
    assert account.names() == {"alunos-planilhas"}


def test_of_a_fifo_topic_too(exact):
    producer, part = (
        Topology.producer("alunos.fifo", owner="secretaria"),
        Topology.of(Biblioteca, topic="alunos.fifo", owner="leitura"),
    )
    exact.apply(producer)
    exact.apply(part)
    assert not exact.plan(part).pending
    send(exact, "alunos-biblioteca.fifo", MessageGroupId="g", MessageDeduplicationId="d")
    assert exact.remove(part, "biblioteca").kept
    assert len(exact.remove(part, "biblioteca", lose_messages=True).changes) == 4
    assert exact.names() == set()


def test_a_queues_name_in_place_of_a_services_is_told(account):
    account.apply(SECRETARIA)
    account.apply(BIBLIOTECA)
    with pytest.raises(OwnershipError, match="belongs to service 'biblioteca'"):
        account.remove(BIBLIOTECA, "biblioteca-dlq")
    assert account.names() == three("biblioteca")


# Services that change


def test_a_service_that_is_renamed_loses_nothing(account):
    """First the new name, then the old one's queue runs empty, then it is removed."""
    account.apply(SECRETARIA)
    account.apply(BIBLIOTECA)
    publish(account, Matriculado(numero=1))
    renamed = Topology.of(Acervo, topic="alunos", owner="leitura")
    done = account.apply(renamed)
    assert told(done, "other")[1:] == [
        ("other", "subscription", f"{account.prefix}alunos-biblioteca")
    ]
    publish(account, Matriculado(numero=2))
    assert (visible(account, "biblioteca"), visible(account, "acervo")) == (2, 1)
    assert account.remove(renamed, "biblioteca").kept  # the old workers still have work
    drain(account, "biblioteca")
    account.remove(renamed, "biblioteca")
    publish(account, Matriculado(numero=3))
    assert visible(account, "acervo") == 2
    assert account.names() == three("acervo")


def test_a_service_that_is_split_in_two_loses_nothing(account):
    account.apply(SECRETARIA)
    account.apply(BIBLIOTECA)
    publish(account, Matriculado(numero=1), Saiu(numero=1))
    halves = Topology.of(Acervo, Emprestimos, topic="alunos", owner="leitura")
    account.apply(halves)
    publish(account, Matriculado(numero=2), Saiu(numero=2))
    assert [visible(account, one) for one in ("biblioteca", "acervo", "emprestimos")] == [4, 1, 1]
    drain(account, "biblioteca")
    account.remove(halves, "biblioteca")
    assert account.names() == three("acervo") | three("emprestimos")
    types = [
        json.loads(account.subscription(f"alunos-{one}")["FilterPolicy"])["type"]
        for one in ("acervo", "emprestimos")
    ]
    assert types == [["aluno.matriculado"], ["aluno.saiu"]]


def test_without_an_owner_a_renamed_service_is_another_ones(account):
    """The old name was its owner: it must be said that it is the same team."""
    account.apply(SECRETARIA)
    account.apply(FINANCEIRO)
    renamed = Topology.of(Acervo, topic="alunos")
    with pytest.raises(OwnershipError, match="'financeiro', and this topology by 'acervo'"):
        account.remove(renamed, "financeiro")
    account.remove(renamed, "financeiro", take_over=True)
    assert account.names() == set()


def drain(account: Account, service: str) -> None:
    with closing(connect(account.settings, session=account.session)) as broker:
        queue = broker.queue(service)
        while queue.depth().visible:
            queue.delete(queue.receive(10, 1))


@pytest.fixture
def wire_before(server):
    from tests.aws.conftest import Wire

    wire = Wire(server.url)
    yield wire
    wire.close()


def test_settings_of_a_plan_are_the_environments(exact, monkeypatch):
    """The functions take what the commands take: no settings are those of the environment."""
    for name, value in {
        "MESSAGING_PREFIX": exact.prefix,
        "AWS_ENDPOINT_URL": exact.settings.endpoint_url or "",
        "AWS_REGION": "sa-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TopicNotFound):
        plan(BIBLIOTECA, session=exact.session)
    assert Settings.from_environment().prefix == exact.prefix
