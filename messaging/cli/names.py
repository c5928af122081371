"""Resolves `module:NAME` on the command line to the object in your code."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from messaging.errors import ConfigurationError, MessagingError

if TYPE_CHECKING:
    from messaging.codec import Codec
    from messaging.consuming.consumer import Consumer
    from messaging.consuming.dispatch import Middleware
    from messaging.event import Event
    from messaging.topology import Topology

__all__ = [
    "codec",
    "consumer",
    "consumer_class",
    "event",
    "load",
    "middleware",
    "module",
    "topology",
]


def topology(name: str, said: str) -> Topology:
    """The `Topology` called `name`; `said` is the source of the name, for error messages."""
    from messaging.topology import Topology

    found = load(name, said, example="consumers:TOPOLOGY")
    if not isinstance(found, Topology):
        raise _unexpected(name, said, found, "a Topology")
    return found


def event(name: str, said: str) -> type[Event]:
    """The `Event` class called `name`."""
    from messaging.event import Event

    found = load(name, said, example="consumers.events:AlunoCadastrado")
    if not isinstance(found, type) or not issubclass(found, Event) or not found.event_type:
        raise _unexpected(name, said, found, "an Event class with type= and version=")
    return found


def consumer(name: str, said: str) -> Consumer:
    """The consumer called `name`: a class is instantiated, a factory called, an instance used as
    is."""
    from messaging.consuming.consumer import Consumer

    found = load(name, said, example="consumers.marketing:Marketing")
    if isinstance(found, Consumer):
        return found
    made = _call(found, name, said) if callable(found) else None
    if not isinstance(made, Consumer):
        raise _unexpected(
            name, said, found, "a Consumer class, a consumer, or a function that gives one"
        )
    return made


def consumer_class(name: str, said: str) -> type[Consumer]:
    """The consumer class called `name`, or the class of that consumer; nothing is instantiated."""
    from messaging.consuming.consumer import Consumer

    found = load(name, said, example="consumers.bi:BI")
    kind = found if isinstance(found, type) else type(found)
    if not issubclass(kind, Consumer):
        raise _unexpected(name, said, found, "a Consumer class")
    return kind


def codec(name: str, said: str) -> Codec:
    """The codec called `name`: a class is instantiated, a factory called, an instance used as
    is."""
    found = load(name, said, example="school.wire:CODEC")
    if not _is_codec(found) and callable(found):
        found = _call(found, name, said)
    if not _is_codec(found):
        raise _unexpected(name, said, found, "a codec (encode and decode) or what gives one")
    return cast("Codec", found)


def _is_codec(found: object) -> bool:
    return not isinstance(found, type) and all(
        callable(getattr(found, method, None)) for method in ("encode", "decode")
    )


def middleware(name: str, said: str) -> Middleware:
    """The middleware called `name`; a function without parameters is called as its factory."""
    found = load(name, said, example="school.once:ONCE")
    if callable(found) and _takes(found, 0):
        found = _call(found, name, said)
    if not callable(found) or not _takes(found, 1):
        raise _unexpected(
            name, said, found, "a middleware (it takes a call), or a function that gives one,"
        )
    return cast("Middleware", found)


def _takes(found: Any, count: int) -> bool:
    try:
        inspect.signature(found).bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    return True


def load(name: str, said: str, *, example: str) -> Any:
    """The object called `name` ("module:NAME"); the current folder is searched first.

    Raises `ConfigurationError` naming what is missing. For an exception raised by the module
    itself, it only gives type and location: the exception's text may quote any data.
    """
    module_name, _, path = name.partition(":")
    if not module_name or not path or not all(map(str.isidentifier, path.split("."))):
        raise ConfigurationError(f"{said} {name!r}: write module:NAME, like {example}")
    _look_here()
    found: Any = _import(module_name, name, said)
    for step in path.split("."):
        try:
            found = getattr(found, step)
        except AttributeError:
            raise ConfigurationError(
                f"{said} {name!r}: {module_name} has no {path!r}; it has {_public(found)}"
            ) from None
    return found


def module(name: str, said: str) -> ModuleType:
    """The module called `name`, searched for as in `load`."""
    if not name or not all(map(str.isidentifier, name.split("."))):
        raise ConfigurationError(f"{said} {name!r}: write a module's name, like consumers.events")
    _look_here()
    found: ModuleType = _import(name, name, said)
    return found


def _look_here() -> None:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


def _import(module: str, name: str, said: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or "?"
        if module == missing or module.startswith(f"{missing}."):
            raise ConfigurationError(
                f"{said} {name!r}: there is no module {missing!r} in {Path.cwd()} nor among the "
                "installed packages; run from your project's folder, or install your project"
            ) from None
        raise ConfigurationError(
            f"{said} {name!r}: {module} imports {missing!r}, which is not installed"
        ) from error
    except MessagingError:
        raise  # an invalid event or consumer: the error explains itself
    except Exception as error:
        raise ConfigurationError(
            f"{said} {name!r}: importing {module} raised {_told(error)}{_remedy(error)}"
        ) from error


def _call(found: Any, name: str, said: str) -> Any:
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise ConfigurationError(
            f"{said} {name!r} cannot be made without arguments ({error}); name a function that "
            "makes it, like module:make_service"
        ) from None
    except ValueError:
        pass  # no signature to inspect (a builtin): just call it
    try:
        return found()
    except MessagingError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"{said} {name!r}: making it raised {_told(error)}{_remedy(error)}"
        ) from error


def _remedy(error: Exception) -> str:
    """The remedy for code that needs a framework which is not set up."""
    django = sys.modules.get("django.apps")
    if type(error).__module__ != "django.core.exceptions" or django is None or django.apps.ready:
        return ""
    return (
        "; Django is not set up: set DJANGO_SETTINGS_MODULE and call django.setup() before it is "
        "imported, or run `python manage.py messaging_worker` instead"
    )


def _unexpected(name: str, said: str, found: object, wanted: str) -> ConfigurationError:
    what = (
        f"the class {found.__qualname__}" if isinstance(found, type) else type(found).__qualname__
    )
    return ConfigurationError(f"{said} {name!r}: {wanted} was expected, not {what}")


def _public(found: Any) -> str:
    own = getattr(found, "__name__", None)
    names = getattr(found, "__all__", None) or [
        name
        for name, value in vars(found).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and (getattr(value, "__module__", own) == own or name.isupper())
    ]
    return ", ".join(names[:12]) or "nothing public"


def _told(error: Exception) -> str:
    place = ""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if isinstance(error, SyntaxError):
        place = f" at {error.filename}:{error.lineno}"
    elif frame is not None:
        place = f" at {frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
    return f"{type(error).__qualname__}{place}"
