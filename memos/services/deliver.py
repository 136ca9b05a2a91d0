"""Deliver: the job that sends what waits for one webhook, oldest first.

At least once: what was sent is written down after it was sent, so a crash in between sends it again, under the same id
and with the same body. A run is short, whatever the endpoint does: it ends after so many messages, so many seconds or
three failures in a row, and promises the next one.
"""

from __future__ import annotations

import json
import random
import time
from datetime import timedelta
from uuid import UUID

import structlog

from memos.errors import NotFound
from memos.metering import meters
from memos.rules import webhooks as rules
from memos.rules.header import instant
from memos.services.attempt import Attempt, Outcome
from memos.services.outbound import Sender, Sent
from memos.services.remember import utc_now
from memos.services.webhooks import secrets_of
from memos.store import events, webhooks
from memos.store.webhooks import Delivery, Webhook
from memos.tracing import span

MOST_IN_A_RUN = 50
LONGEST_RUN_S = 20.0
MOST_FAILURES = 3
USER_AGENT = "memos-webhooks/1"

log = structlog.get_logger("memos.webhooks")


def deliver(attempt: Attempt) -> Outcome:
    """Job `deliver`, payload `{webhook_id}`. The endpoint's failures are in its log, and are no failures of the job."""
    webhook_id = UUID(attempt.job.payload["webhook_id"])
    settings = attempt.parts.settings
    try:
        with attempt.reading() as tx:
            hook = webhooks.find(tx, webhook_id)
            waiting = webhooks.due(tx, webhook_id, MOST_IN_A_RUN) if hook.active else []
    except NotFound:
        return Outcome({"delivered": 0, "failed": 0})
    until, delivered, failed, row = time.monotonic() + LONGEST_RUN_S, 0, 0, 0
    with Sender(timeout_s=settings.webhook_timeout_s, private=settings.webhook_private) as sender:
        for delivery in waiting:
            attempt.check()
            sent = _send(sender, attempt, hook, delivery)
            _note(attempt, hook, delivery, sent, failures=hook.failures + row + 1)
            delivered, failed, row = (delivered + 1, failed, 0) if sent.delivered else (delivered, failed + 1, row + 1)
            if row >= MOST_FAILURES or sent.status == rules.GONE or time.monotonic() > until:
                break
    with attempt.saving() as tx:
        next_in_s = webhooks.next_in_s(tx, webhook_id)
        if next_in_s is not None:
            events.promise_delivery(tx, webhook_id, next_in_s)
        return attempt.finish(tx, {"delivered": delivered, "failed": failed})


def _send(sender: Sender, attempt: Attempt, hook: Webhook, delivery: Delivery) -> Sent:
    now = utc_now()
    body = json.dumps(delivery.body, separators=(",", ":"), sort_keys=True).encode()
    timestamp, message_id = int(now.timestamp()), str(delivery.event_id)
    signatures = [
        rules.sign(secret, message_id, timestamp, body)
        for secret in secrets_of(attempt.tenant_id, attempt.parts.settings, hook, now)
    ]
    headers = {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }
    with span("webhook", webhook=str(hook.id)):
        sent = sender.post(hook.url, headers, body)
    meters().webhooks.labels("delivered" if sent.delivered else sent.error or "refused").inc()
    return sent


def _note(attempt: Attempt, hook: Webhook, delivery: Delivery, sent: Sent, *, failures: int) -> None:
    now = utc_now()
    entry = {"at": instant(now), "status": sent.status, "error": sent.error, "took_ms": sent.took_ms}
    with attempt.saving() as tx:
        if sent.delivered:
            webhooks.attempted(tx, delivery, entry, "delivered", None, now)
            webhooks.succeeded(tx, hook.id, now)
            return
        wait_s = None
        if sent.status != rules.GONE:
            wait_s = rules.retry_in_s(delivery.tries + 1, random.random())  # noqa: S311 - jitter, not a secret
        state, next_at = ("dead", None) if wait_s is None else ("waiting", now + timedelta(seconds=wait_s))
        webhooks.attempted(tx, delivery, entry, state, next_at, now)
        pause_s = rules.pause_s(failures)
        webhooks.failed(
            tx, hook.id, now + timedelta(seconds=pause_s) if pause_s else None, active=sent.status != rules.GONE
        )
    log.warning(
        "webhook_failed", webhook=str(hook.id), delivery=str(delivery.id), status=sent.status, error=sent.error,
        tries=delivery.tries + 1, dead=wait_s is None,
    )  # fmt: skip
