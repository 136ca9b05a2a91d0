"""The record: who did what, proof that it is whole, and what was erased."""

from __future__ import annotations

import json

from starlette.responses import Response

from api.pages import rendering
from api.pages.visiting import Pages, Visit
from memos.rules.receipts import BadReceipt
from memos.rules.receipts import verify as verify_receipt
from memos.services import erase, oversee, signing

pages = Pages()

MOST_ACTS = 50
MOST_RECEIPTS = 40
SUBJECTS = ("cube", "write", "memory", "branch", "tag", "key", "tenant", "session", "quarantine", "grant", "hold")


@pages.add("GET", "/audit")
def audit(visit: Visit) -> Response:
    action, cube = visit.query("action"), visit.query("cube")
    with visit.reading() as tx:
        found = oversee.list_acts(
            tx,
            visit.who,
            action=action,
            key_id=visit.query_id("key_id"),
            cube=cube,
            limit=MOST_ACTS,
            cursor=visit.query("cursor"),
        )
    template = "parts/acts.html" if visit.fragment else "audit.html"
    return rendering.page(visit, template, found=found, action=action, cube=cube, subjects=SUBJECTS, verified=None)


@pages.add("POST", "/audit/verify")
def verify(visit: Visit) -> Response:
    with visit.reading() as tx:
        verified = oversee.verify_audit(tx, visit.who)
        if visit.fragment:
            return rendering.page(visit, "parts/verified.html", verified=verified)
        found = oversee.list_acts(tx, visit.who, action=None, key_id=None, cube=None, limit=MOST_ACTS, cursor=None)
    return rendering.page(
        visit, "audit.html", found=found, action=None, cube=None, subjects=SUBJECTS, verified=verified
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


def _file(body: object, name: str) -> Response:
    headers = {**rendering.HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(json.dumps(body, indent=2).encode(), 200, headers, media_type="application/json")
