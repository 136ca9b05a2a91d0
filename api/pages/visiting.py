"""How a page is declared, and who may see it.

A page is no part of the JSON API: it answers people with HTML, knows them by a cookie instead of a bearer key, sends
strangers to the login, and takes forms, each with a token that only this session's pages hold. The cookie is never sent
along by another site (SameSite=Strict), and a form is refused that comes from one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import parse_qsl, quote, urlsplit
from uuid import UUID

import structlog
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope as AsgiScope

from api.problems import translate
from memos.errors import Forbidden, Invalid, MemosError, NotFound, TooLarge
from memos.rules import sessions as rules
from memos.rules.access import Principal
from memos.rules.sessions import LASTS, Session
from memos.services import sessions
from memos.services.remember import utc_now
from memos.services.signing import keyring
from memos.store.calling import CALLER
from memos.store.transaction import Transaction
from memos.wiring import App

ROOT = "/admin"
LOGIN = f"{ROOT}/login"
COOKIE = "memos_session"
TOKEN = "form_token"  # noqa: S105 - a field's name
# A form of ours holds a question and a few settings.
MOST_FORM_BYTES = 64 * 1024
MOST_FIELD = 10_000
MOST_FIELDS = 200

log = structlog.get_logger("memos.pages")


@dataclass(frozen=True, slots=True)
class Visit:
    """One request by somebody signed in. `now` is its one reading of the clock; `form` is empty for a GET."""

    app: App
    request: Request
    who: Principal
    session: Session
    now: datetime
    form: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        with self.app.database.transaction(self.who.tenant_id, read_only=True) as tx:
            yield tx

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        with self.app.database.transaction(self.who.tenant_id) as tx:
            yield tx

    def query(self, name: str) -> str | None:
        """A parameter of the address; None when absent or empty, as an empty field of a form is sent."""
        return storable(self.request.query_params.get(name, "")) or None

    def query_id(self, name: str) -> UUID | None:
        given = self.query(name)
        return None if given is None else parsed_id(given)

    def path(self, name: str) -> str:
        return storable(str(self.request.path_params[name]))

    def path_id(self, name: str) -> UUID:
        return parsed_id(self.path(name))

    @property
    def fragment(self) -> bool:
        """Whether a page of ours asks for a part of itself."""
        return self.request.headers.get("hx-request") == "true"

    @property
    def form_token(self) -> str:
        return rules.form_token(keyring(self.app.settings).sessions, self.session)


Page = Callable[[Visit], Response]


@dataclass(frozen=True, slots=True)
class Declared:
    method: str
    path: str
    function: Page


class Pages:
    """The pages of one subject."""

    def __init__(self) -> None:
        self.declared: list[Declared] = []

    def add(self, method: str, path: str) -> Callable[[Page], Page]:
        """Declare a page for those who are signed in. `path` stands below `/admin`."""

        def declare(function: Page) -> Page:
            self.declared.append(Declared(method, ROOT + path, function))
            return function

        return declare

    def install(self, api: FastAPI) -> None:
        for page in self.declared:
            api.router.routes.append(PageRoute(page.path, guarded(page.function), methods=[page.method]))


class PageRoute(Route):
    """A route that says its name to the log and the metrics, as those of the API do."""

    def matches(self, scope: AsgiScope) -> tuple[Match, AsgiScope]:
        match, child = super().matches(scope)
        return match, {**child, "route": self}


def guarded(page: Page) -> Callable[[Request], Awaitable[Response]]:
    """A page that is shown to nobody but who is signed in, and whose failures are pages too."""

    async def handle(request: Request) -> Response:
        form = await read_form(request) if request.method == "POST" else {}
        return await run_in_threadpool(_answer, page, request, form)

    return handle


def _answer(page: Page, request: Request, form: dict[str, str]) -> Response:
    from api.pages import rendering  # the templates need the names of this module

    app: App = request.app.state.memos
    now = utc_now()
    known = visitor(app, request, now)
    if known is None:
        return _to_login(request)
    session, who = known
    request.scope["who"] = who
    # Every transaction of this visit shows what the key may see, as those of the API do. This runs in a context of its own.
    CALLER.set(who)
    visit = Visit(app, request, who, session, now, form)
    try:
        if request.method == "POST":
            _check_form(visit)
        return page(visit)
    except Exception as error:  # the edge of a visit: a person gets a page, the log the traceback
        kind = translate(error) or MemosError("something went wrong on our side; the log has it")
        if kind.status >= 500:
            log.exception("failed", code=kind.code, detail=kind.detail)
        return rendering.problem(visit, kind)


def visitor(app: App, request: Request, now: datetime) -> tuple[Session, Principal] | None:
    """Who is signed in."""
    cookie = request.cookies.get(COOKIE)
    return sessions.resume(app.database, keyring(app.settings).sessions, cookie, now) if cookie else None


def signed_in(response: Response, app: App, request: Request, session: Session) -> Response:
    """Give the visitor the cookie."""
    response.set_cookie(
        COOKIE,
        rules.sealed(keyring(app.settings).sessions, session),
        max_age=int(LASTS.total_seconds()),
        path=ROOT,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


def signed_out(response: Response) -> Response:
    response.delete_cookie(COOKIE, path=ROOT, httponly=True, samesite="strict")
    return response


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; of one sent twice, the last."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM_BYTES:
            raise TooLarge("this form is too long")
    try:
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise Invalid("this form has too many fields") from None
    return {name: storable(value) for name, value in pairs}


def check_origin(request: Request) -> None:
    """Raise `Forbidden` for a form that another site has sent."""
    origin = request.headers.get("origin")
    foreign = request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}
    if foreign or (origin is not None and urlsplit(origin).netloc != request.headers.get("host")):
        raise Forbidden("this form was sent by another site")


def see_other(path: str) -> Response:
    """After a form has done its work, so that going back or reloading does not do it again."""
    return RedirectResponse(path, 303)


def storable(value: str) -> str:
    """What may stand in a query or a row: bounded, without NUL and lone surrogates."""
    return value[:MOST_FIELD].replace("\0", "").encode("utf-8", "replace").decode()


def parsed_id(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise NotFound("no such page: this is no id") from None


def _check_form(visit: Visit) -> None:
    check_origin(visit.request)
    given = visit.form.get(TOKEN, "")
    if not rules.is_form_token(keyring(visit.app.settings).sessions, visit.session, given):
        raise Forbidden("this form has expired; go back, reload the page and send it again")


def _to_login(request: Request) -> Response:
    """A fragment cannot be replaced by a login: the whole page has to go there."""
    if request.headers.get("hx-request") == "true":
        return Response(status_code=204, headers={"HX-Redirect": LOGIN})
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    back = f"?next={quote(asked)}" if request.method == "GET" and asked != ROOT else ""
    return RedirectResponse(LOGIN + back, 303)


def local(path: str | None) -> str:
    """Where to go after the login: a page of ours, whatever the address said."""
    ours = path is not None and (path == ROOT or path.startswith((f"{ROOT}/", f"{ROOT}?")))
    return path if ours and path is not None and not path.startswith(f"{ROOT}//") and "\\" not in path else ROOT
