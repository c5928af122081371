"""A consumer's handlers say what its queue receives, and are held to it when the class is made."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import pytest

from messaging.consuming.consumer import Consumer, handles
from messaging.envelope import Envelope
from messaging.errors import ConfigurationError, ConsumerError
from messaging.event import Event
from messaging.outcome import RetryPolicy
from messaging.projection import Projection
from messaging.transport import Delivery

Given = TypeVar("Given")


class Enrolled(Event, type="student.enrolled", version=1):
    name: str
    email: str


class ForMail(Projection, of=Enrolled, audience=("mail", "post")):
    email: str


class ForBooks(Projection, of=Enrolled, audience="books"):
    name: str


class Left(Event, type="student.left", version=1):
    name: str


class Mail(Consumer):
    @handles
    def welcome(self, student: ForMail) -> None: ...

    @handles
    async def farewell(
        self, student: Left, delivery: Delivery, *, about: Envelope, again: int = 3
    ) -> None: ...

    def helper(self, anything: int) -> None: ...


def test_what_a_handler_takes_says_what_it_handles() -> None:
    assert list(Mail.handlers) == ["student.enrolled", "student.left"]
    welcome, farewell = Mail.handlers.values()
    assert (welcome.name, welcome.event, welcome.view) == ("welcome", Enrolled, ForMail)
    assert (welcome.is_async, welcome.envelope, welcome.delivery) == (False, None, None)
    assert (farewell.name, farewell.event, farewell.view) == ("farewell", Left, Left)
    assert (farewell.is_async, farewell.envelope, farewell.delivery) == (True, "about", "delivery")


def test_the_handlers_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        Mail.handlers["x"] = Mail.handlers["student.left"]  # type: ignore[index]


def test_classes_made_inside_a_function_are_found_though_annotations_are_text() -> None:
    class Moved(Event, type="moved", version=1):
        to: str

    class Local(Consumer):
        @handles
        def moved(self, event: Moved, envelope: Envelope) -> None: ...

    assert Local.handlers["moved"].view is Moved
    assert Local.handlers["moved"].envelope == "envelope"


def test_classes_made_two_functions_up_are_found_too() -> None:
    class Moved(Event, type="moved", version=1):
        to: str

    def make() -> type[Consumer]:
        class Local(Consumer):
            @handles
            def moved(self, event: Moved) -> None: ...

        return Local

    assert make().handlers["moved"].event is Moved


def test_a_parametrised_event_is_handled_as_itself() -> None:
    class Noted(Event, Generic[Given], type="noted", version=1):
        value: Given

    class Local(Consumer):
        @handles
        def noted(self, event: Noted[int]) -> None: ...

    assert Local.handlers["noted"].view is Noted[int]


def test_a_decorated_handler_is_read_through_its_decorator() -> None:
    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def around(*given: Any, **named: Any) -> Any:
            return function(*given, **named)

        return around

    class Local(Consumer):
        @handles
        @timed
        def left(self, event: Left, envelope: Envelope) -> None: ...

        @timed
        @handles
        def enrolled(self, event: OpenEnrolled) -> None: ...

    assert Local.handlers["student.left"].envelope == "envelope"
    assert Local.handlers["open"].name == "enrolled"


class OpenEnrolled(Event, type="open", version=1):
    pass


# inheritance


def test_handlers_are_inherited_and_may_be_overridden() -> None:
    class More(Mail):
        service = "mail"

        @handles
        async def welcome(self, student: ForMail, envelope: Envelope) -> None: ...  # type: ignore[override]

    assert More.handlers["student.enrolled"].is_async
    assert More.handlers["student.left"] == Mail.handlers["student.left"]
    assert not Mail.handlers["student.enrolled"].is_async


def test_a_mixin_may_bring_a_handler() -> None:
    class Forgets:
        @handles
        def left(self, event: Left) -> None: ...

    class Local(Forgets, Consumer):
        pass

    assert list(Local.handlers) == ["student.left"]


def test_an_override_without_the_mark_would_lose_events() -> None:
    with pytest.raises(ConsumerError, match=r"welcome overrides a handler: mark it with @handles"):

        class Forgot(Mail):
            service = "mail"

            def welcome(self, student: ForMail) -> None: ...


def test_a_service_name_that_was_set_is_inherited_and_one_that_was_derived_is_not() -> None:
    class Named(Consumer):
        service = "post"
        max_receives = 50

    class Inherits(Named):
        pass

    class TwiceInherits(Inherits):
        pass

    class Derived(Mail):
        service = "post"

    assert (Inherits.service, TwiceInherits.service) == ("post", "post")
    assert (Inherits.max_receives, TwiceInherits.max_receives) == (50, 50)
    assert (Mail.service, Derived.service) == ("mail", "post")
    with pytest.raises(ConsumerError, match="which is for mail, post, not for loud-mail"):

        class LoudMail(Mail):
            pass


# settings


@pytest.mark.parametrize(
    ("name", "service"),
    [
        ("Marketing", "marketing"),
        ("BI", "bi"),
        ("EmailSender", "email-sender"),
        ("_Quiet", "quiet"),
        ("Room2", "room2"),
        ("Ab_Cd", "ab_cd"),
    ],
)
def test_a_service_is_called_like_its_class(name: str, service: str) -> None:
    assert types.new_class(name, (Consumer,)).__dict__["service"] == service


def test_a_setting_beside_the_base_says_where_it_belongs() -> None:
    with pytest.raises(ConsumerError, match=r"Mail: write service = \.\.\. in the body"):

        class Mail(Consumer, service="mail"):
            pass


@pytest.mark.parametrize("service", ["", "Mail", "a b", "é", "x" * 51, "-a", 3, None, "a\n"])
def test_a_service_name_that_cannot_be_is_refused(service: Any) -> None:
    with pytest.raises(ConsumerError, match=r"service=.* is not a service name; use 1 to 50 of a"):
        type("Wrong", (Consumer,), {"service": service})


def test_the_net_of_sqs_hangs_below_that_of_the_library() -> None:
    class Patient(Consumer):
        retry = RetryPolicy(max_attempts=20)

    class MorePatient(Patient):
        retry = RetryPolicy(max_attempts=30)

    class Strict(Consumer):
        retry = RetryPolicy(max_attempts=20, outage=0)

    class Once(Consumer):
        retry = RetryPolicy(max_attempts=1)

    # Beside its attempts a message may be received every 15 s in ten minutes of outage.
    assert (Patient.max_receives, MorePatient.max_receives) == (65, 75)
    assert (Strict.max_receives, Once.max_receives) == (40, 10)
    for wrong in (5, 1001):
        with pytest.raises(ConsumerError, match=r"more than retry.max_attempts \(5\) and at most"):
            type("Wrong", (Consumer,), {"max_receives": wrong})


@pytest.mark.parametrize("seconds", [0, 43_201])
def test_a_visibility_timeout_that_sqs_refuses(seconds: int) -> None:
    with pytest.raises(ConsumerError, match="1 to 43,200 seconds"):
        type("Wrong", (Consumer,), {"visibility_timeout": seconds})


def test_retry_must_be_a_policy() -> None:
    with pytest.raises(ConsumerError, match="retry must be a RetryPolicy, not 3"):
        type("Wrong", (Consumer,), {"retry": 3})


# handlers that are refused; each is the body of a method of service "mail"


def _takes_nothing() -> None:
    class Wrong(Consumer):
        @handles
        def bad(self) -> None: ...


def _no_annotation() -> None:
    class Wrong(Consumer):
        @handles
        def bad(self, student) -> None: ...  # type: ignore[no-untyped-def]


def _not_an_event() -> None:
    class Wrong(Consumer):
        @handles
        def bad(self, student: dict[str, int]) -> None: ...


def _optional_event() -> None:
    class Wrong(Consumer):
        @handles
        def bad(self, student: Left | None) -> None: ...


def _view_of_others() -> None:
    class Wrong(Consumer):
        service = "mail"

        @handles
        def bad(self, student: ForBooks) -> None: ...


def _whole_event_with_a_view_for_me() -> None:
    class Wrong(Consumer):
        service = "mail"

        @handles
        def bad(self, student: Enrolled) -> None: ...


def _whole_event_without_a_view_for_me() -> None:
    class Wrong(Consumer):
        service = "door"

        @handles
        def bad(self, student: Enrolled) -> None: ...


class _Sketch(Event):
    name: str


class _SketchView(Projection):
    name: str


def _abstract_event() -> None:
    class Wrong(Consumer):
        @handles
        def bad(self, student: _Sketch) -> None: ...


def _abstract_view() -> None:
    class Wrong(Consumer):
        @handles
        def bad(self, student: _SketchView) -> None: ...


def _two_handlers() -> None:
    class Wrong(Consumer):
        @handles
        def one(self, student: Left) -> None: ...

        @handles
        def two(self, student: Left) -> None: ...


def _something_else() -> None:
    class Wrong(Consumer):
        @handles
        def bad(self, student: Left, mailing: list[str]) -> None: ...


def _two_envelopes() -> None:
    class Wrong(Consumer):
        @handles
        def bad(self, student: Left, one: Envelope, two: Envelope) -> None: ...


def _envelope_by_place_only() -> None:
    class Wrong(Consumer):
        @handles
        def bad(self, student: Left, envelope: Envelope, /) -> None: ...


def _view_by_name_only() -> None:
    class Wrong(Consumer):
        @handles
        def bad(self, *, student: Left) -> None: ...


def _static() -> None:
    class Wrong(Consumer):
        @handles
        @staticmethod
        def bad(student: Left) -> None: ...


def _class_method() -> None:
    class Wrong(Consumer):
        @classmethod
        @handles
        def bad(cls, student: Left) -> None: ...


def _name_that_nobody_knows() -> None:
    class Wrong(Consumer):
        @handles
        def bad(self, student: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


REFUSED: list[tuple[Callable[[], None], str]] = [
    (_takes_nothing, "has no parameter: annotate the first one"),
    (_no_annotation, "'student' has no annotation; annotate it with an Event or with the Proj"),
    (_not_an_event, r"'student' is dict\[str, int\]; annotate it with an Event"),
    (_optional_event, r"'student' is Left \| None; annotate it"),
    (_view_of_others, "takes ForBooks, which is for books, not for mail; ask for a view with aud"),
    (_whole_event_with_a_view_for_me, "the whole Enrolled, which is sent only .*; take ForMail"),
    (_whole_event_without_a_view_for_me, "declare a Projection of it with audience='door'"),
    (_abstract_event, "_Sketch is abstract: it has no type="),
    (_abstract_view, "_SketchView is abstract: it has no of="),
    (_two_handlers, r"Wrong\.one and .*Wrong\.two both handle student.left: one event, one handl"),
    (_something_else, r"'mailing' is list\[str\]; .* Pass anything else to __init__"),
    (_two_envelopes, "'one' and 'two' are both Envelope; take it once"),
    (_envelope_by_place_only, "'envelope' is given by its name; take it before any"),
    (_view_by_name_only, "'student' is keyword-only; take it by place"),
    (_static, "a handler is a plain method, with self"),
    (_class_method, "a handler is a plain method, with self"),
    (_name_that_nobody_knows, "'Nowhere' is not defined; import what the annotation names outside"),
]


@pytest.mark.parametrize(("declare", "said"), REFUSED, ids=[one.__name__ for one, _ in REFUSED])
def test_a_handler_that_could_not_be_called_is_refused_at_import(
    declare: Callable[[], None], said: str
) -> None:
    with pytest.raises(ConsumerError, match=said) as caught:
        declare()
    assert "Wrong." in str(caught.value), "says which method"
    assert isinstance(caught.value, ConfigurationError)


def test_closing_a_consumer_that_holds_nothing_does_nothing() -> None:
    Mail().close()
