"""Every page as it leaves the server: who may see it, what it may load, and that it is fit for people."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.pages.visiting import PageRoute
from memos.rules import sessions
from memos.services import sessions as session_service
from memos.services.remember import utc_now
from memos.wiring import App
from tests.conftest import OWNER_KEY
from tests.pages.conftest import HOST, House

VOID = {"meta", "link", "input", "br", "hr", "img", "rect", "circle", "line", "path"}
PUBLIC = {"/admin/login", "/admin/static/{name}"}


class Found(HTMLParser):
    """What is in a page: every element with its attributes, and whether the tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.labelled = 0
        self.feed(text)
        assert self.open == [], self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag in {"input", "select", "textarea"} and attributes.get("type") != "hidden":
            assert "label" in self.open or "aria-label" in attributes, (tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def of(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.elements if name == tag)


@pytest.fixture(scope="module")
def shown(visitor: TestClient, house: House) -> dict[str, str]:
    """The text of every page."""
    found = {}
    for name, path in house.pages().items():
        answer = visitor.get(path)
        assert answer.status_code == 200, (name, answer.text)
        found[name] = answer.text
    return found


def routes(api: FastAPI) -> list[tuple[str, str]]:
    return [
        (method, route.path)
        for route in api.routes
        if isinstance(route, PageRoute)
        for method in (route.methods or set()) - {"HEAD"}
    ]


def aimed(path: str, house: House) -> str:
    known = {
        "cube": house.cube, "memory_id": house.fact, "job_id": house.job, "trace_id": house.trace,
        "receipt_id": house.receipt, "key_id": house.fact, "name": "memos.css", "subject": "tenant",
        "hold_id": house.hold, "grant_id": house.grant,
    }  # fmt: skip
    return path.format(**known)


# ---------------------------------------------------------------- who may see them


def test_a_stranger_is_sent_to_the_login(api: FastAPI, house: House) -> None:
    stranger = TestClient(api, base_url=HOST, follow_redirects=False)
    guarded = [(method, path) for method, path in routes(api) if path not in PUBLIC]
    assert len(guarded) > 30
    for method, path in guarded:
        answer = stranger.request(method, aimed(path, house))
        assert (answer.status_code, answer.headers["location"].split("?")[0]) == (303, "/admin/login"), (method, path)
        assert answer.text == ""


def test_after_the_login_one_is_where_one_wanted_to_be(api: FastAPI) -> None:
    visitor = TestClient(api, base_url=HOST, follow_redirects=False)
    to_login = visitor.get("/admin/audit?action=key").headers["location"]
    assert 'value="/admin/audit?action=key"' in visitor.get(to_login).text
    answer = visitor.post("/admin/login", data={"key": OWNER_KEY, "next": "/admin/audit?action=key"})
    assert answer.headers["location"] == "/admin/audit?action=key"
    assert visitor.get("/admin/login").status_code == 303


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/admin", "//evil.example", "/admin//x", "/v1/cubes", "/admin/\\x"]
)
def test_the_login_leads_nowhere_else(api: FastAPI, elsewhere: str) -> None:
    answer = TestClient(api, base_url=HOST, follow_redirects=False).post(
        "/admin/login", data={"key": OWNER_KEY, "next": elsewhere}
    )
    assert answer.headers["location"] == "/admin"


def test_what_is_no_admin_key_does_not_sign_in(api: FastAPI, make_key: Callable[..., str]) -> None:
    visitor = TestClient(api, base_url=HOST, follow_redirects=False)
    for key, status in (("mk_wrong", 401), ("", 401), ("é\0", 401), (make_key("read", "write"), 403)):
        answer = visitor.post("/admin/login", data={"key": key})
        assert answer.status_code == status
        assert "set-cookie" not in answer.headers
        assert 'role="alert"' in answer.text
        if key:
            assert key not in answer.text


def test_the_cookie_is_only_for_these_pages_and_this_site(api: FastAPI) -> None:
    visitor = TestClient(api, base_url="https://testserver", follow_redirects=False)
    cookie = visitor.post("/admin/login", data={"key": OWNER_KEY}).headers["set-cookie"]
    assert {"HttpOnly", "Path=/admin", "SameSite=strict", "Secure"} <= set(cookie.split("; "))
    assert OWNER_KEY not in cookie


def test_the_cookie_is_no_key_of_the_api(visitor: TestClient) -> None:
    assert visitor.get("/v1/cubes").status_code == 401
    assert visitor.get("/admin/v1/overview").status_code == 401


def test_a_changed_cookie_is_a_strangers(api: FastAPI, visitor: TestClient) -> None:
    value = next(cookie.value for cookie in visitor.cookies.jar if cookie.name == "memos_session")
    assert value
    for wrong in (
        value[:-2],
        value.replace(".", "A."),
        value.split(".")[0],
        "x.y",
        "é",
        f"{'A' * 55}.{value.split('.')[1]}",
    ):
        stranger = TestClient(api, base_url=HOST, follow_redirects=False)
        answer = stranger.get("/admin", headers={b"cookie": b"memos_session=" + wrong.encode()})
        assert answer.status_code == 303, wrong


def test_a_revoked_key_ends_its_sessions_at_once(
    client: TestClient, make_key: Callable[..., str], sign_in: Callable[[str], TestClient]
) -> None:
    visitor = sign_in(make_key("read", "admin", name="short"))
    assert visitor.get("/admin").status_code == 200
    [key] = [k for k in client.get("/admin/v1/keys?limit=200").json()["items"] if k["name"] == "short"]
    assert client.delete(f"/admin/v1/keys/{key['id']}").status_code == 204
    assert visitor.get("/admin").status_code == 303


def test_signing_out(sign_in: Callable[[str], TestClient]) -> None:
    visitor = sign_in(OWNER_KEY)
    answer = visitor.post("/admin/logout", data={"form_token": token(visitor)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/login")
    assert visitor.get("/admin").status_code == 303


# ---------------------------------------------------------------- other tenants, other cubes


def test_another_tenant_sees_nothing_of_this_one(foreign_visitor: TestClient, house: House, api: FastAPI) -> None:
    for name, path in house.pages().items():
        answer = foreign_visitor.get(path)
        assert answer.status_code in {200, 404}, (name, answer.status_code)
        assert (answer.status_code == 404) == bool(re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", path)), name
        for secret in ("Dora", "train", "attic", house.fact, house.turn):
            assert secret not in answer.text.replace(path, ""), (name, secret)
    assert foreign_visitor.get(f"/admin/memories/{house.fact}/graph.json").status_code == 404


def test_another_tenant_changes_nothing_of_this_one(foreign_visitor: TestClient, house: House, api: FastAPI) -> None:
    form = {
        "form_token": token(foreign_visitor), "to": "1", "branch": "main", "head": "1", "cube": house.cube, "version": "1",
        "query": "train", "name": "mine", "a-limit": "5", "reason": "mine", "days": "1", "place": "0", "ability": "read",
        "sort": "key",
    }  # fmt: skip
    for method, path in routes(api):
        if method == "POST" and path not in PUBLIC | {"/admin/logout", "/admin/access/keys", "/admin/audit/verify"}:
            to = "frozen" if "state" in path else house.fact if "sharing" in path else "1"
            answer = foreign_visitor.post(aimed(path, house), data=form | {"to": to})
            assert answer.status_code in {403, 404}, (path, answer.status_code)


def test_a_key_bound_to_a_cube_sees_that_cube_only(
    client: TestClient, house: House, make_key: Callable[..., str], sign_in: Callable[[str], TestClient]
) -> None:
    client.post("/v1/cubes", json={"name": "garden"})
    bound = sign_in(make_key("read", "write", "admin", cubes=["garden"]))
    assert "garden" in bound.get("/admin").text
    assert "house</a>" not in bound.get("/admin/cubes").text
    for page in ("history", "memory", "trace", "receipt", "job"):
        assert bound.get(house.pages()[page]).status_code == 404, page
    assert house.fact not in bound.get("/admin/decisions").text
    assert "When does the train leave?" not in bound.get("/admin/traces").text
    assert house.cube not in bound.get("/admin/audit").text


# ---------------------------------------------------------------- what a page is made of


def test_pages_keep_to_themselves(visitor: TestClient, house: House) -> None:
    for path in [
        "/admin/login",
        *house.pages().values(),
        f"/admin/memories/{house.fact}/graph.json",
        "/admin/cubes/none",
    ]:
        headers = visitor.get(path).headers
        if headers.get("location"):
            continue
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


def test_no_page_has_script_or_style_in_it_or_loads_from_elsewhere(shown: dict[str, str]) -> None:
    for name, text in shown.items():
        page = Found(text)
        for tag, attributes in page.elements:
            assert tag != "style", name
            assert not [a for a in attributes if a.startswith("on") or a == "style"], (name, tag, attributes)
            for address in (
                attributes.get("src"),
                attributes.get("href"),
                attributes.get("action"),
                attributes.get("hx-get"),
            ):
                assert address is None or address.startswith(("/admin", "#")), (name, address)
        assert all(script.get("src", "") for script in page.of("script"))


def test_pages_are_labelled_and_in_order(shown: dict[str, str]) -> None:
    for name, text in shown.items():
        page = Found(text)  # asserts that tags close in order and every field has a label
        assert [a["lang"] for a in page.of("html")] == ["en"]
        headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
        assert headings.count(1) == 1, name
        assert all(later - earlier <= 1 for earlier, later in pairwise(headings)), (
            name,
            headings,
        )
        ids = [a["id"] for _, a in page.elements if "id" in a]
        assert len(ids) == len(set(ids)), name
        assert (
            len([a for a in page.of("a") if a.get("aria-current") == "page" and "/cubes/" not in str(a.get("href"))])
            <= 1
        )


def test_every_form_that_writes_carries_the_token(shown: dict[str, str]) -> None:
    for name, text in shown.items():
        for form in re.findall(r"<form[^>]*method=\"post\".*?</form>", text, re.DOTALL):
            assert 'name="form_token"' in form, name


def test_what_was_said_is_text_and_never_markup(shown: dict[str, str]) -> None:
    assert "<script>alert" not in "".join(shown.values())
    assert "&lt;script&gt;alert" in shown["memories"]


def test_forms_from_elsewhere_are_refused(visitor: TestClient, house: House) -> None:
    path = f"/admin/cubes/{house.cube}/rollback"
    good = {"form_token": token(visitor), "to": "1", "branch": "main", "head": "99"}
    for form, headers in (
        (good | {"form_token": ""}, {}),
        (good | {"form_token": "x" * 43}, {}),
        ({k: v for k, v in good.items() if k != "form_token"}, {}),
        (good, {"Origin": "https://evil.example"}),
        (good, {"Origin": "null"}),
        (good, {"Sec-Fetch-Site": "cross-site"}),
        (good, {"Sec-Fetch-Site": "same-site"}),
    ):
        answer = visitor.post(path, data=form, headers=headers)
        assert answer.status_code == 403, (form, headers)
        assert "text/html" in answer.headers["content-type"]
    assert visitor.post(path, data=good, headers={"Origin": HOST, "Sec-Fetch-Site": "same-origin"}).status_code == 412


def test_the_token_of_another_session_is_refused(visitor: TestClient, sign_in: Callable[[str], TestClient]) -> None:
    other = sign_in(OWNER_KEY)
    assert visitor.post("/admin/audit/verify", data={"form_token": token(other)}).status_code == 403


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/admin/nothing", 404),
        ("/admin/cubes/none", 404),
        ("/admin/memories/none", 404),
        ("/admin/memories?id=x", 404),
        ("/admin/jobs?cursor=x", 422),
        ("/admin/audit?cursor=x", 422),
        ("/admin/cubes?q=%00%ff", 200),
        ("/admin/cubes/house/diff?from=x&to=1", 404),
        ("/admin/cubes/house/diff?from=99999999999999&to=1", 422),
        ("/admin/cubes/house/memories?at=999", 404),
        ("/admin/cubes/house/rollback", 422),
        ("/admin/jobs?state=nonsense", 200),
        ("/admin/static/../pages/overview.py", 404),
        ("/admin/static/none.css", 404),
    ],
)  # fmt: skip
def test_bad_addresses_have_pages_too(visitor: TestClient, house: House, path: str, status: int) -> None:
    assert visitor.get(path).status_code == status


def test_files_are_ours_and_may_be_kept(api: FastAPI, shown: dict[str, str]) -> None:
    stranger = TestClient(api, base_url=HOST)
    addresses = {a for text in shown.values() for a in re.findall(r'"(/admin/static/[^"]+)"', text)}
    assert len(addresses) >= 4
    for address in addresses:
        answer = stranger.get(address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    assert stranger.get("/admin/static/memos.css").headers["cache-control"] == "no-cache"


def test_libraries_come_with_their_licences() -> None:
    names = {entry.name for entry in files("api.pages").joinpath("static").iterdir()}
    for library in (name for name in names if name.endswith(".min.js")):
        assert library.replace(".min.js", ".LICENSE.txt") in names


def test_a_session_does_not_outlive_a_day(app: App) -> None:
    now = utc_now()
    begun = session_service.begin(app.database, OWNER_KEY, now)
    sealed = sessions.sealed(b"secret", begun)
    assert session_service.resume(app.database, b"secret", sealed, now + timedelta(hours=11)) is not None
    assert session_service.resume(app.database, b"secret", sealed, now + timedelta(hours=13)) is None
    assert session_service.resume(app.database, b"another", sealed, now) is None


def token(visitor: TestClient) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', visitor.get("/admin").text)
    assert found
    return found.group(1)
