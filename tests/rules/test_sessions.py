from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from memos.rules.sessions import LASTS, Session, form_token, is_form_token, opened, sealed

BEGUN = datetime(2026, 8, 1, 9, 30, tzinfo=UTC)
sessions = st.builds(
    Session, tenant_id=st.uuids(), key_id=st.uuids(), begun_at=st.just(BEGUN), nonce=st.binary(min_size=8, max_size=8)
)
SECRET = b"a secret of this service"


@given(sessions)
def test_what_was_sealed_is_opened(session: Session) -> None:
    value = sealed(SECRET, session)
    assert opened(SECRET, value, BEGUN) == session
    assert opened(SECRET, value, BEGUN + LASTS) == session
    assert opened(SECRET, value, BEGUN + LASTS + timedelta(seconds=1)) is None
    assert opened(SECRET, value, BEGUN - timedelta(hours=1)) is None
    assert opened(b"another", value, BEGUN) is None
    assert value.isascii()
    assert not set(value) & set(' ",;\\')


@given(sessions, st.integers(0, 110), st.sampled_from("ABab01-_.="))
def test_nobody_else_can_write_one(session: Session, place: int, letter: str) -> None:
    value = sealed(SECRET, session)
    place %= len(value)
    changed = value[:place] + letter + value[place + 1 :]
    # The last letters of base64 hold spare bits: another spelling of the same bytes is the same session.
    assert opened(SECRET, changed, BEGUN) in (None, session)
    if changed != value and place not in (value.index(".") - 1, len(value) - 1):
        assert opened(SECRET, changed, BEGUN) is None


@given(st.text())
def test_nonsense_is_no_session(value: str) -> None:
    assert opened(SECRET, value, BEGUN) is None


@given(sessions, sessions, st.text())
def test_a_form_token_is_of_one_session(session: Session, other: Session, text: str) -> None:
    token = form_token(SECRET, session)
    assert is_form_token(SECRET, session, token)
    assert is_form_token(SECRET, other, token) == (session == other)
    assert not is_form_token(SECRET, session, text) or text == token
    assert token != sealed(SECRET, session).split(".")[1]
