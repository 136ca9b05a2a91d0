"""Events are told when and only when they are committed; webhooks hear of them, signed, until they have heard."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID, uuid4

import pytest

from memos.errors import Conflict, Forbidden, NotFound
from memos.rules import webhooks as rules
from memos.rules.access import Principal, Scope
from memos.services import jobs as jobs_service
from memos.services import webhooks, work
from memos.services.deliver import MOST_FAILURES
from memos.services.outbound import Sender
from memos.services.remember import utc_now
from memos.services.webhooks import NewSecret
from memos.store import events, jobs
from memos.store import webhooks as store
from memos.store.events import Event
from memos.store.webhooks import Delivery, Webhook
from memos.wiring import App
from tests.services.running import fact, make_cube, write

SECRET_WORDS = "Orsolya hides the marzipan"


@dataclass
class Endpoint:
    """A server that keeps what it was sent and answers with the next of `statuses` (the last one for ever)."""

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [204])
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    kept = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kept.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
            status = kept.statuses.pop(0) if len(kept.statuses) > 1 else kept.statuses[0]
            self.send_response(status)
            self.send_header("content-length", "0")
            if status == 302:
                self.send_header("location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield kept
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def parts(app: App) -> App:
    """The same, in a network where every caller is trusted."""
    return replace(app, settings=app.settings.model_copy(update={"webhook_private": True, "webhook_timeout_s": 2.0}))


@pytest.fixture
def cube(app: App, owner: Principal) -> UUID:
    return make_cube(app, owner, f"told-{uuid4().hex[:8]}", utc_now())


def hook(parts: App, owner: Principal, url: str, kinds: list[str], cubes: list[str] | None = None) -> NewSecret:
    with parts.database.transaction(owner.tenant_id) as tx:
        return webhooks.create(
            tx, owner, parts.settings, url=url, kinds=kinds, cube_refs=cubes, description="", now=utc_now()
        )


def stream(app: App, owner: Principal, cube: UUID) -> list[Event]:
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        return events.page(tx, cube, 0, 1_000)


def log(app: App, owner: Principal, webhook_id: UUID) -> list[Delivery]:
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        return list(reversed(store.deliveries(tx, webhook_id, None, 1_000, None)))


def look(app: App, owner: Principal, webhook_id: UUID) -> Webhook:
    with app.database.transaction(owner.tenant_id, read_only=True) as tx:
        return store.find(tx, webhook_id)


def run(parts: App, owner: Principal, webhook_id: UUID, *, now: bool = False) -> jobs.Job:
    """Run the job that waits for the webhook; with `now` all that waits becomes due first."""
    with parts.database.transaction(owner.tenant_id) as tx:
        if now:
            tx.run("UPDATE deliveries SET next_at = now() WHERE tenant_id = :tenant AND state = 'waiting'")
            tx.run("UPDATE webhooks SET paused_until = NULL WHERE tenant_id = :tenant")
            tx.run("UPDATE jobs SET run_after = now() WHERE tenant_id = :tenant AND kind = 'deliver'")
        waiting = jobs.list_page(tx, "queued", "deliver", 100, None, None)
    [job] = [j for j in waiting if j.payload["webhook_id"] == str(webhook_id)]
    assert work.run_job(parts, owner.tenant_id, job.id) == "succeeded"
    with parts.database.transaction(owner.tenant_id) as tx:
        return jobs.get(tx, job.id)


def test_what_is_committed_is_told_in_order_and_says_nothing_of_memory(app: App, owner: Principal, cube: UUID) -> None:
    for number in range(3):
        write(app, owner, str(cube), [fact(f"{SECRET_WORDS} {number}")], utc_now())
    told = stream(app, owner, cube)
    assert [event.kind for event in told] == ["cube.created", *["revision.committed"] * 3]
    assert [event.seq for event in told] == [1, 2, 3, 4]
    assert [event.data.get("revision") for event in told] == [None, 1, 2, 3]
    assert "marzipan" not in json.dumps([event.wire() for event in told]).lower()


def test_what_is_rolled_back_is_not_told_and_takes_no_number(app: App, owner: Principal, cube: UUID) -> None:
    with pytest.raises(RuntimeError), app.database.transaction(owner.tenant_id) as tx:
        events.emit(tx, "memory.quarantined", cube_id=cube, memory_ids=[])
        raise RuntimeError
    write(app, owner, str(cube), [fact("one")], utc_now())
    assert [event.seq for event in stream(app, owner, cube)] == [1, 2]


def test_writers_of_one_stream_and_of_several_never_leave_a_gap(app: App, owner: Principal) -> None:
    """Numbers follow commits, whatever order the writers name their streams in."""
    streams = [uuid4() for _ in range(3)]

    def tell(turn: int) -> None:
        for _ in range(20):
            with app.database.transaction(owner.tenant_id) as tx:
                for stream_id in streams[turn:] + streams[:turn]:
                    events.emit(tx, "job.succeeded", cube_id=stream_id)

    threads = [threading.Thread(target=tell, args=[turn % 3]) for turn in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for stream_id in streams:
        assert [event.seq for event in stream(app, owner, stream_id)] == list(range(1, 121))


def test_the_ends_of_jobs_are_told_but_not_of_those_that_tell(app: App, owner: Principal, cube: UUID) -> None:
    with app.database.transaction(owner.tenant_id) as tx:
        ids = [
            jobs.promise(tx, kind, cube_id=cube, payload={"branch": "main"}) for kind in ("index", "nonsense", "index")
        ]
    work.run_job(app, owner.tenant_id, ids[0])
    work.run_job(app, owner.tenant_id, ids[1])
    with app.database.transaction(owner.tenant_id) as tx:
        jobs_service.cancel_job(tx, owner, ids[2])
        jobs_service.cancel_job(tx, owner, ids[2])
    told = stream(app, owner, cube)[1:]
    assert [(e.kind, e.data["job_id"]) for e in told] == [
        ("job.succeeded", str(ids[0])), ("job.failed", str(ids[1])), ("job.cancelled", str(ids[2])),
    ]  # fmt: skip
    assert told[1].data["code"] == "unknown_kind"


def test_a_message_arrives_signed_once(parts: App, owner: Principal, cube: UUID, endpoint: Endpoint) -> None:
    made = hook(parts, owner, endpoint.url, ["revision.committed"], [str(cube)])
    other = make_cube(parts, owner, f"other-{uuid4().hex[:8]}", utc_now())
    write(parts, owner, str(cube), [fact(SECRET_WORDS)], utc_now())
    write(parts, owner, str(other), [fact(SECRET_WORDS)], utc_now())
    run(parts, owner, made.webhook.id)
    [(headers, body)] = endpoint.got
    assert rules.verify(
        made.secret, headers["webhook-id"], headers["webhook-timestamp"], headers["webhook-signature"], body,
        now=utc_now().timestamp(),
    )  # fmt: skip
    assert json.loads(body) == stream(parts, owner, cube)[-1].wire()
    [delivery] = log(parts, owner, made.webhook.id)
    assert (delivery.state, delivery.attempts[0]["status"]) == ("delivered", 204)
    assert look(parts, owner, made.webhook.id).delivered_at is not None
    with parts.database.transaction(owner.tenant_id) as tx:
        assert store.next_in_s(tx, made.webhook.id) is None


def test_a_failing_endpoint_is_tried_again_and_then_left(
    parts: App, owner: Principal, cube: UUID, endpoint: Endpoint
) -> None:
    endpoint.statuses = [500, 302, 204]
    made = hook(parts, owner, endpoint.url, ["revision.committed"], [str(cube)])
    write(parts, owner, str(cube), [fact("one")], utc_now())
    assert run(parts, owner, made.webhook.id).result == {"delivered": 0, "failed": 1}
    with parts.database.transaction(owner.tenant_id) as tx:
        assert 0 < (store.next_in_s(tx, made.webhook.id) or 0) <= 1.1 * rules.WAITS_S[0]
    run(parts, owner, made.webhook.id, now=True)
    run(parts, owner, made.webhook.id, now=True)
    [delivery] = log(parts, owner, made.webhook.id)
    assert [attempt["status"] for attempt in delivery.attempts] == [500, 302, 204]
    assert len({headers["webhook-id"] for headers, _ in endpoint.got}) == 1
    assert len({body for _, body in endpoint.got}) == 1

    endpoint.statuses = [503]
    write(parts, owner, str(cube), [fact("two")], utc_now())
    for _ in range(rules.MOST_TRIES):
        run(parts, owner, made.webhook.id, now=True)
    dead = log(parts, owner, made.webhook.id)[-1]
    assert (dead.state, dead.tries, dead.next_at) == ("dead", rules.MOST_TRIES, None)

    endpoint.statuses = [200]
    with parts.database.transaction(owner.tenant_id) as tx:
        webhooks.redeliver(tx, owner, made.webhook.id, dead.id, now=utc_now())
    run(parts, owner, made.webhook.id)
    again = log(parts, owner, made.webhook.id)[-1]
    assert (again.state, again.tries, len(again.attempts)) == ("delivered", 1, rules.MOST_TRIES + 1)


def test_a_dead_endpoint_costs_few_tries_and_new_events_wait_for_its_pause(
    parts: App, owner: Principal, cube: UUID, endpoint: Endpoint
) -> None:
    endpoint.statuses = [500]
    made = hook(parts, owner, endpoint.url, ["revision.committed"], [str(cube)])
    for number in range(6):
        write(parts, owner, str(cube), [fact(f"number {number}")], utc_now())
    run(parts, owner, made.webhook.id)
    assert len(endpoint.got) == MOST_FAILURES
    paused = look(parts, owner, made.webhook.id)
    assert paused.failures == MOST_FAILURES
    assert paused.paused_until is not None
    write(parts, owner, str(cube), [fact("after")], utc_now())
    with parts.database.transaction(owner.tenant_id) as tx:
        [job] = [
            j
            for j in jobs.list_page(tx, "queued", "deliver", 100, None, None)
            if j.payload["webhook_id"] == str(made.webhook.id)
        ]
    assert job.run_after >= paused.paused_until - timedelta(seconds=1)
    endpoint.statuses = [200]
    run(parts, owner, made.webhook.id, now=True)
    assert look(parts, owner, made.webhook.id).failures == 0
    assert {d.state for d in log(parts, owner, made.webhook.id)} == {"delivered"}


def test_gone_switches_it_off(parts: App, owner: Principal, cube: UUID, endpoint: Endpoint) -> None:
    endpoint.statuses = [410]
    made = hook(parts, owner, endpoint.url, ["revision.committed"], [str(cube)])
    write(parts, owner, str(cube), [fact("one")], utc_now())
    run(parts, owner, made.webhook.id)
    assert not look(parts, owner, made.webhook.id).active
    write(parts, owner, str(cube), [fact("two")], utc_now())
    [delivery] = log(parts, owner, made.webhook.id)
    assert delivery.state == "dead"


def test_after_a_rotation_both_secrets_verify(parts: App, owner: Principal, cube: UUID, endpoint: Endpoint) -> None:
    before = hook(parts, owner, endpoint.url, ["revision.committed"], [str(cube)])
    with parts.database.transaction(owner.tenant_id) as tx:
        after = webhooks.rotate(tx, owner, parts.settings, before.webhook.id, now=utc_now())
    assert after.secret != before.secret
    write(parts, owner, str(cube), [fact("one")], utc_now())
    run(parts, owner, before.webhook.id)
    [(headers, body)] = endpoint.got
    for secret in (before.secret, after.secret):
        assert rules.verify(
            secret, headers["webhook-id"], headers["webhook-timestamp"], headers["webhook-signature"], body,
            now=utc_now().timestamp(),
        )  # fmt: skip
    later = utc_now() + rules.OVERLAP + timedelta(seconds=1)
    assert webhooks.secrets_of(owner.tenant_id, parts.settings, after.webhook, later) == [after.secret]


def test_a_private_address_is_never_called(app: App, owner: Principal, cube: UUID, endpoint: Endpoint) -> None:
    """The URL was fine when it was given; the name means another address now."""
    made = hook(app, owner, "https://hooks.example.com/x", ["revision.committed"], [str(cube)])
    with app.database.transaction(owner.tenant_id) as tx:
        tx.run(
            "UPDATE webhooks SET url = :url WHERE tenant_id = :tenant AND id = :id",
            url=endpoint.url,
            id=made.webhook.id,
        )
    write(app, owner, str(cube), [fact("one")], utc_now())
    run(app, owner, made.webhook.id)
    assert endpoint.got == []
    [delivery] = log(app, owner, made.webhook.id)
    assert delivery.attempts[0]["error"] == "forbidden_address"


def test_one_private_address_among_several_is_enough_to_refuse(endpoint: Endpoint) -> None:
    with Sender(timeout_s=2, private=False, resolve=lambda *_: ["93.184.216.34", "127.0.0.1"]) as sender:
        assert sender.post(endpoint.url, {}, b"{}").error == "forbidden_address"
    assert endpoint.got == []


def test_the_connection_goes_to_what_was_looked_at(endpoint: Endpoint) -> None:
    url = endpoint.url.replace("127.0.0.1", "a-name-without-dns.test")
    with Sender(timeout_s=2, private=True, resolve=lambda *_: ["127.0.0.1"]) as sender:
        assert sender.post(url, {}, b"{}").delivered
    assert endpoint.got[0][0]["host"].startswith("a-name-without-dns.test")


def test_an_endpoint_that_talks_slowly_is_cut_off() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nx-slow: ")
                while not stop.wait(0.1):
                    try:
                        connection.sendall(b"y")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        with Sender(timeout_s=0.7, private=True) as sender:
            sent = sender.post(f"http://127.0.0.1:{server.getsockname()[1]}/", {}, b"{}")
        stop.set()
        thread.join()
    assert (sent.status, sent.error) == (None, "timeout")


def test_nobody_there_is_a_failure_with_our_words(parts: App) -> None:
    with Sender(timeout_s=1, private=True) as sender:
        assert sender.post("http://127.0.0.1:1/", {}, b"{}").error == "unreachable"
        assert sender.post("http://no-such-host.invalid/", {}, b"{}").error == "unreachable"


def test_who_may_set_up_webhooks(parts: App, owner: Principal, other_tenant: UUID, endpoint: Endpoint) -> None:
    made = hook(parts, owner, endpoint.url, [])
    for caller, refusal in (
        (replace(owner, scopes=frozenset({Scope.READ, Scope.WRITE})), Forbidden),
        (replace(owner, cube_ids=frozenset({uuid4()})), Forbidden),
    ):
        with pytest.raises(refusal), parts.database.transaction(owner.tenant_id) as tx:
            webhooks.get(tx, caller, made.webhook.id)
    with pytest.raises(NotFound), parts.database.transaction(other_tenant) as tx:
        webhooks.get(tx, replace(owner, tenant_id=other_tenant), made.webhook.id)
    with pytest.raises(Conflict), parts.database.transaction(owner.tenant_id) as tx:
        for _ in range(store.MOST_WEBHOOKS + 1):
            webhooks.create(
                tx, owner, parts.settings, url=endpoint.url, kinds=[], cube_refs=None, description="", now=utc_now()
            )


def test_old_events_and_deliveries_are_forgotten(parts: App, owner: Principal, cube: UUID, endpoint: Endpoint) -> None:
    made = hook(parts, owner, endpoint.url, ["revision.committed"], [str(cube)])
    write(parts, owner, str(cube), [fact("one")], utc_now())
    run(parts, owner, made.webhook.id)
    gone = work.purge(parts.database, utc_now() + work.KEEP_EVENTS + timedelta(hours=1))
    assert gone["events"] >= 2
    assert stream(parts, owner, cube) == []
    assert len(log(parts, owner, made.webhook.id)) == 1
    assert work.purge(parts.database, utc_now() + work.KEEP_DELIVERIES + timedelta(hours=1))["deliveries"] >= 1
    write(parts, owner, str(cube), [fact("two")], utc_now())
    assert [event.seq for event in stream(parts, owner, cube)] == [3]
