"""What may be called, how a message is signed, when it is sent again."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos.errors import Invalid
from memos.rules import webhooks as rules

TENANT, HOOK = UUID(int=1), UUID(int=2)
secrets = st.binary(min_size=32, max_size=32).map(lambda root: rules.secret_of(root, TENANT, HOOK, 1))


@given(secrets, st.text("abc-0", min_size=1), st.integers(0, 2**33), st.binary(max_size=200))
def test_a_signature_is_that_of_the_specification(secret: str, message_id: str, moment: int, body: bytes) -> None:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{moment}.".encode() + body
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert rules.sign(secret, message_id, moment, body) == f"v1,{wanted}"


@given(secrets, secrets, st.binary(max_size=100), st.binary(max_size=100))
def test_only_the_same_body_under_the_same_secret_verifies(ours: str, other: str, body: bytes, altered: bytes) -> None:
    signatures = " ".join(rules.sign(secret, "m", 1_000, body) for secret in (other, ours))
    assert rules.verify(ours, "m", "1000", signatures, body, now=1_100)
    assert rules.verify(ours, "m", "1000", signatures, altered, now=1_100) == (altered == body)
    assert not rules.verify(ours, "n", "1000", signatures, body, now=1_100)
    assert not rules.verify(ours, "m", "1001", signatures, body, now=1_100)
    assert not rules.verify(ours, "m", "1000", signatures, body, now=1_301)
    assert not rules.verify(ours, "m", "later", signatures, body, now=1_100)
    if other != ours:
        assert not rules.verify(ours, "m", "1000", rules.sign(other, "m", 1_000, body), body, now=1_100)


def test_a_secret_is_its_own_for_each_webhook_tenant_and_generation() -> None:
    root = b"r" * 32
    made = {rules.secret_of(root, UUID(int=t), UUID(int=h), g) for t in (1, 2) for h in (1, 2) for g in (1, 2)}
    assert len(made) == 8
    assert rules.secret_of(root, TENANT, HOOK, 1) == rules.secret_of(root, TENANT, HOOK, 1)


@given(st.integers(1, 40), st.floats(0, 1))
def test_waits_grow_and_end(tries: int, jitter: float) -> None:
    wait_s = rules.retry_in_s(tries, jitter)
    assert (wait_s is None) == (tries >= rules.MOST_TRIES)
    if wait_s is not None:
        assert rules.WAITS_S[tries - 1] <= wait_s <= 1.1 * rules.WAITS_S[tries - 1]
    assert 0 <= rules.pause_s(tries) <= rules.pause_s(tries + 1) <= 600


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
        "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:10.0.0.1",
        "::ffff:169.254.169.254", "64:ff9b::a00:1", "2002:a00:1::", "192.0.2.1", "198.18.0.1", "no address", "",
    ],
)  # fmt: skip
def test_addresses_that_are_never_called(address: str) -> None:
    assert not rules.is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_of_the_open_internet(address: str) -> None:
    assert rules.is_public(address)


@given(st.ip_addresses(v=4).filter(lambda a: a.is_private or a.is_loopback or a.is_multicast))
def test_no_spelling_of_a_private_address_is_public(address: ipaddress.IPv4Address) -> None:
    special = {"192.0.0.9", "192.0.0.10"}  # assigned by IANA as globally reachable
    for spelt in (str(address), f"::ffff:{address}", str(ipaddress.IPv6Address(f"64:ff9b::{address}"))):
        assert not rules.is_public(spelt) or str(address) in special


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/x", "ftp://example.com", "https://", "https://user:word@example.com", "https://localhost/x",
        "https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://[::1]/",
        "https://printer.local", "https://db.internal/x", "https://example.com/#here", "https://example.com:99999/",
        "https://exa mple.com", "https://exämple.com", "example.com", "", "https://example.com/" + "x" * 2_000,
    ],
)  # fmt: skip
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(Invalid):
        rules.check_url(url, private=False)


def test_urls_that_are_taken() -> None:
    rules.check_url("https://hooks.example.com:8443/memos?x=1", private=False)
    rules.check_url("https://93.184.216.34/", private=False)
    rules.check_url("http://127.0.0.1:9000/hook", private=True)
    with pytest.raises(Invalid):
        rules.check_url("file:///etc/passwd", private=True)


def test_kinds_that_are_none_are_refused_without_repeating_them() -> None:
    rules.check_kinds(["job.failed"])
    with pytest.raises(Invalid) as refused:
        rules.check_kinds(["my.secret"])
    assert "my.secret" not in refused.value.detail
