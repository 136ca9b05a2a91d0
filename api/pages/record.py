"""The record: who did what, proof that it is whole, and what was erased."""

from __future__ import annotations

import json
from uuid import UUID

from starlette.responses import Response

from api.pages import rendering
from api.pages.visiting import Pages, Visit
from memos.rules.receipts import BadReceipt
from memos.rules.receipts import verify as verify_receipt
from memos.services import erase, oversee, signing
from memos.services.views import Page
from memos.store import tenants
from memos.store.audit import Recorded
from memos.store.transaction import Transaction

pages = Pages()

MOST_ACTS = 50
MOST_RECEIPTS = 40
SUBJECTS = (
    "cube",
    "write",
    "memory",
    "branch",
    "tag",
    "key",
    "tenant",
    "session",
    "quarantine",
    "grant",
    "hold",
    "quota",
    "read",
)


@pages.add("GET", "/audit")
def audit(visit: Visit) -> Response:
    """What one memory met is in here too: `read` acts name what they gave. They are chained within seconds, and now at once."""
    action, cube = visit.query("action"), visit.query("cube")
    key_id, memory_id = visit.query_id("key_id"), visit.query_id("memory_id")
    visit.app.reads.flush()
    with visit.reading() as tx:
        found = oversee.list_acts(
            tx,
            visit.who,
            action=action,
            key_id=key_id,
            cube=cube,
            memory_id=memory_id,
            limit=MOST_ACTS,
            cursor=visit.query("cursor"),
        )
        keys = _names(tx, found)
    template = "parts/acts.html" if visit.fragment else "audit.html"
    asked = {"action": action, "cube": cube, "key_id": key_id, "memory_id": memory_id}
    return rendering.page(visit, template, found=found, asked=asked, keys=keys, subjects=SUBJECTS, verified=None)


@pages.add("POST", "/audit/verify")
def verify(visit: Visit) -> Response:
    with visit.reading() as tx:
        verified = oversee.verify_audit(tx, visit.who)
        if visit.fragment:
            return rendering.page(visit, "parts/verified.html", verified=verified)
        found = oversee.list_acts(tx, visit.who, action=None, key_id=None, cube=None, limit=MOST_ACTS, cursor=None)
        keys = _names(tx, found)
    asked = dict.fromkeys(("action", "cube", "key_id", "memory_id"))
    return rendering.page(
        visit, "audit.html", found=found, asked=asked, keys=keys, subjects=SUBJECTS, verified=verified
    )


@pages.add("GET", "/receipts")
def receipts(visit: Visit) -> Response:
    with visit.reading() as tx:
        found = oversee.list_receipts(tx, visit.who, limit=MOST_RECEIPTS, cursor=visit.query("cursor"))
    template = "parts/receipts.html" if visit.fragment else "receipts.html"
    return rendering.page(visit, template, found=found)


@pages.add("GET", "/receipts/{receipt_id}")
def receipt(visit: Visit) -> Response:
    with visit.reading() as tx:
        body = erase.get_receipt(tx, visit.who, visit.path_id("receipt_id"))
        keys = erase.public_keys(tx, visit.who, signing.keyring(visit.app.settings))
    try:
        verify_receipt(body, {"keys": keys})
        wrong = None
    except BadReceipt as error:
        wrong = error.detail
    return rendering.page(
        visit,
        "receipt.html",
        body=body,
        holds=wrong is None,
        wrong=wrong,
        text=json.dumps(body, indent=2, sort_keys=True),
    )


@pages.add("GET", "/receipts/{receipt_id}/file")
def receipt_file(visit: Visit) -> Response:
    """What `memos verify-receipt` takes."""
    receipt_id = visit.path_id("receipt_id")
    with visit.reading() as tx:
        body = erase.get_receipt(tx, visit.who, receipt_id)
    return _file(body, f"receipt-{receipt_id}.json")


@pages.add("GET", "/receipts-key")
def receipt_keys(visit: Visit) -> Response:
    """The public keys to verify receipts with."""
    with visit.reading() as tx:
        keys = erase.public_keys(tx, visit.who, signing.keyring(visit.app.settings))
    return _file({"keys": keys}, "receipt-keys.json")


def _names(tx: Transaction, found: Page[Recorded]) -> dict[UUID, str]:
    return tenants.key_names(tx, {act.key_id for act in found.items if act.key_id is not None})


def _file(body: object, name: str) -> Response:
    headers = {**rendering.HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(json.dumps(body, indent=2).encode(), 200, headers, media_type="application/json")
