"""The language model port: what is sent, what is believed, what it cost, and how it fails."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from memos.encoders.llm import FakeModel, LanguageModel, Meter, OpenAIChat, language_model
from memos.errors import Unavailable
from memos.settings import Settings
from tests.encoders.engine_servers import served
from tests.services.chat_server import ChatServer


def model_of(url: str, **settings: object) -> OpenAIChat:
    asked = {"llm_url": f"{url}/v1", "llm_model": "tiny", "llm_key": SecretStr("k"), "llm_timeout_s": 5.0} | settings
    model = language_model(Settings(**asked))  # type: ignore[arg-type]
    assert model is not None
    return model


def test_without_a_url_or_a_name_there_is_no_model() -> None:
    assert language_model(Settings()) is None
    assert language_model(Settings(llm_url="http://127.0.0.1:1/v1")) is None


def test_an_answer_comes_with_its_tokens() -> None:
    with served(ChatServer(lambda system, user: f"{system}|{user}")) as url:
        model = model_of(url)
        answer = model.answer("Be brief.", "What is new?", max_tokens=5)
        model.close()
    assert (answer.text, answer.prompt_tokens, answer.completion_tokens) == ("Be brief.|What is new?", 100, 10)
    assert model.name == "tiny"


@pytest.mark.parametrize(
    "server",
    [
        ChatServer(status=500),
        ChatServer(status=404),
        ChatServer(lambda *_: ""),
        ChatServer(lambda *_: "late", delay_s=0.5),
    ],
    ids=["down", "absent", "silent", "slow"],
)
def test_every_failure_is_one_kind_of_error(server: ChatServer) -> None:
    with served(server) as url:
        model = model_of(url, llm_timeout_s=0.2)
        with pytest.raises(Unavailable):
            model.answer("a", "b", max_tokens=5)
        model.close()


def test_nobody_listening_is_that_error_too() -> None:
    model = model_of("http://127.0.0.1:9")
    with pytest.raises(Unavailable):
        model.answer("a", "b", max_tokens=5)
    model.close()


def test_a_meter_counts_calls_tokens_and_cost() -> None:
    meter = Meter(FakeModel(["one two", "three"]), price_in=2.0, price_out=10.0)
    model: LanguageModel = meter
    model.answer("a b", "c", max_tokens=9)
    model.answer("a b", "c", max_tokens=9)
    with pytest.raises(Unavailable):
        model.answer("a b", "c", max_tokens=9)
    report = meter.report()
    assert (report["calls"], report["failures"], report["model"]) == (3, 1, "fake")
    assert (report["prompt_tokens"], report["completion_tokens"]) == (6, 3)
    assert report["cost_usd"] == pytest.approx((6 * 2.0 + 3 * 10.0) / 1_000_000)


def test_a_fake_can_answer_by_what_it_is_asked() -> None:
    fake = FakeModel(str.upper)
    assert fake.answer("", "ana", max_tokens=3).text == "ANA"
    assert fake.asked == ["ana"]
