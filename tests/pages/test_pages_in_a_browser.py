"""The pages in headless Chromium: what a person sees, by mouse and by keyboard, and what axe-core has to say of it.

Skipped, with the reason, where there is no browser. axe-core is vendored for this test only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import OWNER_KEY
from tests.pages.browser import Browser
from tests.pages.conftest import House

AXE = Path(__file__).with_name("vendored") / "axe-4.14.1.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SERIOUS = {"serious", "critical"}


def violations(person: Browser) -> list[Any]:
    """What axe finds serious on the page that is open."""
    person.evaluate(f"{AXE.read_text('utf-8')};0")
    script = (
        f"axe.run(document, {{runOnly: {RULES}}}).then(found => found.violations"
        ".map(v => ({impact: v.impact, id: v.id, at: v.nodes.map(n => n.html.slice(0, 200))})))"
    )
    return [found for found in person.evaluate(script) if found["impact"] in SERIOUS]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390], ids=["wide", "narrow"])
def test_every_page_for_everybody(person: Browser, address: str, house: House, width: int, dark: bool) -> None:
    """Nothing serious for axe, nothing refused by the policy, nothing from elsewhere, nothing wider than the window."""
    person.look(width=width, dark=dark)
    person.requested.clear()
    for name, path in house.pages().items():
        person.messages.clear()
        person.open(address + path)
        assert person.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light dark"
        assert person.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        assert violations(person) == [], name
        assert person.messages == [], name
    assert {url.split("/")[2] for url in person.requested if url.startswith("http")} == {address.split("/")[2]}
    person.look()


def test_the_login_for_everybody(person: Browser, address: str) -> None:
    person.send("Network.clearBrowserCookies")
    for dark in (False, True):
        person.look(width=390, dark=dark)
        person.open(f"{address}/admin/login")
        assert violations(person) == []
    person.look()
    person.evaluate("document.querySelector('input[name=key]').focus()")
    person.send("Input.insertText", text="mk_wrong")
    person.evaluate("window.__left = true")
    person.press("Enter")
    person.wait("!window.__left && document.querySelector('[role=alert]')")
    assert violations(person) == []


@pytest.fixture
def inside(person: Browser, address: str) -> Browser:
    """Signed in, whatever the test before did."""
    person.open(f"{address}/admin")
    if person.evaluate("location.pathname") == "/admin/login":
        person.fill("input[name=key]", OWNER_KEY)
        person.leave_by("button.main")
    person.messages.clear()
    return person


def test_by_keyboard_alone(inside: Browser, address: str) -> None:
    """Tab shows where one is, the first stop leads past the navigation, and every stop can be seen."""
    inside.open(f"{address}/admin/cubes")
    inside.press("Tab")
    assert inside.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert inside.evaluate("document.activeElement.getBoundingClientRect().left >= 0")
    inside.press("Enter")
    assert inside.evaluate("document.activeElement.id") == "main"
    seen = []
    for _ in range(30):
        inside.press("Tab")
        seen.append(inside.evaluate("document.activeElement.textContent.trim() || document.activeElement.name"))
        outlined = "getComputedStyle(document.activeElement).outlineStyle !== 'none' || document.activeElement === document.body"
        assert inside.evaluate(outlined), seen
        if seen[-1] == "house":
            break
    assert seen[-1] == "house"
    inside.evaluate("window.__left = true")
    inside.press("Enter")
    inside.wait("!window.__left && document.readyState === 'complete'")
    assert "house" in inside.evaluate("document.title")


def test_changes_unfold_under_their_revision(inside: Browser, address: str, house: House) -> None:
    inside.open(f"{address}/admin/cubes/{house.cube}")
    inside.click("#r3 a[hx-get]")
    inside.wait("document.querySelector('#r3 .below ins')")
    assert inside.evaluate("document.querySelector('#r3 .below ins').textContent") == "22"
    assert violations(inside) == []
    assert inside.messages == []


def test_the_graph_is_drawn(inside: Browser, address: str, house: House) -> None:
    inside.open(f"{address}/admin/memories/{house.turn}")
    inside.wait("document.getElementById('graph').dataset.ready")
    assert int(inside.evaluate("document.getElementById('graph').dataset.ready")) >= 2
    assert inside.evaluate("document.querySelectorAll('#graph canvas').length") > 0
    assert inside.messages == []


def test_replay_and_verification_answer_in_place(inside: Browser, address: str, house: House) -> None:
    inside.open(f"{address}/admin/traces/{house.trace}")
    inside.click("form[hx-post] button")
    inside.wait("document.querySelector('#replay .note.good')")
    inside.open(f"{address}/admin/audit")
    inside.click("form[hx-post] button")
    inside.wait("document.querySelector('#verified .note.good')")
    assert violations(inside) == []
    assert inside.messages == []


def test_a_dangerous_form_asks_first(inside: Browser, address: str, house: House) -> None:
    """The browser says yes to the question here; that it was asked, the driver saw."""
    inside.open(f"{address}/admin/memories/{house.turn}")
    inside.fill("select[name=to]", "frozen")
    inside.leave_by("form[action$='/state'] button")
    assert "state has changed" in inside.evaluate("document.querySelector('[role=status]').textContent")
    assert inside.asked == ["Change the state of this memory?"]


def test_a_refusal_of_a_part_is_shown_on_the_page(inside: Browser, address: str, house: House) -> None:
    """The form of a session that is over: the fragment is refused, and the page says so."""
    inside.open(f"{address}/admin/audit")
    inside.evaluate("document.querySelector('form[hx-post] input[name=form_token]').value = 'x'")
    inside.click("form[hx-post] button")
    inside.wait("document.querySelector('#trouble .note.bad')")
    assert "expired" in inside.evaluate("document.querySelector('#trouble').textContent")


def test_two_settings_side_by_side(inside: Browser, address: str, house: House) -> None:
    inside.open(f"{address}/admin/bench?cube=house")
    inside.fill("input[name=query]", "Where does Ana live?")
    inside.leave_by("button.main")
    inside.click("details summary")
    assert inside.evaluate("document.querySelectorAll('section.card').length") == 2
    assert violations(inside) == []


def test_signing_out_leaves_nothing_behind(inside: Browser, address: str) -> None:
    assert inside.evaluate("document.cookie") == ""  # no script can read it
    inside.leave_by(".who button")
    assert inside.evaluate("location.pathname") == "/admin/login"
    inside.open(f"{address}/admin/audit")
    assert inside.evaluate("location.pathname") == "/admin/login"
