"""Signing in and out. The key is sent once and kept nowhere; the browser keeps a sealed note of which key it was."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from api.pages import rendering, static_files
from api.pages.visiting import (
    LOGIN,
    PageRoute,
    Pages,
    Visit,
    check_origin,
    local,
    read_form,
    see_other,
    signed_in,
    signed_out,
    visitor,
)
from memos.errors import Forbidden, Unauthenticated
from memos.services import sessions
from memos.services.remember import utc_now
from memos.wiring import App

pages = Pages()


def install(api: FastAPI) -> None:
    """The pages that strangers may see."""
    api.router.routes += [
        PageRoute(LOGIN, login, methods=["GET"]),
        PageRoute(LOGIN, begin, methods=["POST"]),
        PageRoute(static_files.PATH, static_files.serve, methods=["GET"]),
    ]


async def login(request: Request) -> Response:
    app: App = request.app.state.memos
    target = local(request.query_params.get("next"))
    if await run_in_threadpool(visitor, app, request, utc_now()):
        return see_other(target)
    return rendering.html("login.html", target=target, wrong=None)


async def begin(request: Request) -> Response:
    form = await read_form(request)
    return await run_in_threadpool(_begin, request, form)


def _begin(request: Request, form: dict[str, str]) -> Response:
    app: App = request.app.state.memos
    target = local(form.get("next"))
    try:
        check_origin(request)
        session = sessions.begin(app.database, form.get("key", "").strip(), utc_now())
    except Unauthenticated:
        wrong = "That is no key of this service, or it has been revoked."
        return rendering.html("login.html", status=401, target=target, wrong=wrong)
    except Forbidden as error:
        return rendering.html("login.html", status=403, target=target, wrong=error.detail)
    return signed_in(see_other(target), app, request, session)


@pages.add("POST", "/logout")
def end(visit: Visit) -> Response:
    sessions.end(visit.app.database, visit.who, visit.now)
    return signed_out(see_other(LOGIN))
