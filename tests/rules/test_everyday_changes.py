"""Pairs of statements as people make them, a month apart: which replace what was said, and which stand beside it.

All of it is invented for this test. What no rule sees yet is listed too: it must be left standing, not guessed at.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from memos.rules.extraction import Source, extract
from memos.rules.reconcile import Claim, claim_of, reconcile_all

START = datetime(2024, 1, 1, tzinfo=UTC)
OF_THE_WORLD = """
The author of Who's Afraid of the Dark is Ida Berg. | The author of Who's Afraid of the Dark is Olaf Lind.
The author of The Owl, the Fox and the Hare is Ida Berg. | The author of The Owl, the Fox and the Hare is Olaf Lind.
The author of 1812 is Ida Berg. | The author of 1812 is Olaf Lind.
The author of I, Miller is Ida Berg. | The author of I, Miller is Olaf Lind.
The author of What Was Lost is Ida Berg. | The author of What Was Lost is Olaf Lind.
The author of "North of Nowhere" is Ida Berg. | The author of "North of Nowhere" is Olaf Lind.
The director of Where Is Home? is Ida Berg. | The director of Where Is Home? is Olaf Lind.
The director of Mother! is Ida Berg. | The director of Mother! is Olaf Lind.
The original broadcaster of Night Desk is Channel Nine. | The original broadcaster of Night Desk is Radio Norde.
The capital of the Duchy of Aster is Velm. | The capital of the Duchy of Aster is Corin.
The capital of Aster is Velm. | Corin is the capital of Aster.
Velm is the capital of Aster. | Corin is the capital of Aster.
Aster's capital is Velm. | Aster's capital is Corin.
Aster's capital is Velm. | The capital of Aster is Corin.
The mayor of Velm is Ida Berg. | Olaf Lind is the mayor of Velm.
Ida Berg is the mayor of Velm. | Olaf Lind is now the mayor of Velm.
Ida Berg is the CEO of Norde Ltd. | Olaf Lind is the new CEO of Norde Ltd.
The chief executive officer of Norde Inc. is Ida Berg. | The chief executive officer of Norde Inc. is Olaf Lind.
The head coach of FC Velm is Ida Berg. | The head coach of FC Velm is Olaf Lind.
The official language of St. Aster is French. | The official language of St. Aster is German.
Dr. Ida Berg works for Norde Labs. | Dr. Ida Berg works for Velm Hospital.
Ida O'Hara is married to Olaf Lind. | Ida O'Hara is married to Rasmus Holm.
Ida Berg is a citizen of Aster. | Ida Berg is a citizen of Norde.
iBoard was developed by Norde Inc. | iBoard was developed by Velm Labs.
eMarket was founded by Ida Berg. | eMarket was founded by Olaf Lind.
The headquarters of Norde Inc. are located in Velm. | The headquarters of Norde Inc. are located in Corin.
Norde Inc. is headquartered in Velm. | Norde Inc. is headquartered in Corin.
Norde Inc. is based in Velm. | Norde Inc. is based in Corin.
Norde Inc. is owned by Ida Berg. | Norde Inc. is owned by Olaf Lind.
Ida Berg is employed by Norde Labs. | Ida Berg is employed by Velm Hospital.
Ida Berg plays the position of goalkeeper. | Ida Berg plays the position of striker.
Ida's phone number is 555 0134. | Ida's phone number is 555 0199.
Ida's birthday party is on Saturday. | Ida's birthday party is on Sunday.
The price of the ticket is 40 euros. | The price of the ticket is 55 euros.
The deadline of the Velm project is 3 May. | The deadline of the Velm project is 10 May.
The deadline for the Velm project is 3 May. | The deadline for the Velm project is 10 May.
The password of the Velm router is plum42. | The password of the Velm router is pear77.
The meeting with Ida is at 3 pm. | The meeting with Ida is at 5 pm.
The chairperson of Harbour Trust is Lena Moss. | The chairperson of Harbour Trust is Piet Vos.
The genre of Silver Line is jazz. | The genre of Silver Line is folk.
The king of Ardland is Rolf II. | Rolf III is the king of Ardland.
Lena Moss is the coach of Harbour United. | Piet Vos is the coach of Harbour United.
Lena Moss is the head of the Harbour Trust. | Piet Vos is the current head of the Harbour Trust.
Harbour Trust is led by Lena Moss. | Harbour Trust is led by Piet Vos.
The release date of Silver Line is 4 June. | The release date of Silver Line is 9 July.
The number of employees of Harbour Trust is 120. | The number of employees of Harbour Trust is 150.
Lena's office is in room 12. | Lena's office is in room 40.
Lena's favorite dish is risotto. | Lena's favorite dish is ramen.
Lena Moss lives in Ardburg. | Lena Moss lives in Lowtown.
Lena Moss works as a pilot. | Lena Moss works as a baker.
Lena Moss moved to Ardburg. | Lena Moss moved to Lowtown.
"""
"""Told by nobody: what is about named things, in every order and with titles of every shape."""
OF_ONESELF = """
I work at Norde. | I switched jobs and work for Velm Labs now.
I live in Velm. | I moved to Corin last month.
I live in Velm. | I've just moved to Corin.
I live in Velm. | We moved to Corin in May.
I live in Velm. | I relocated to Corin.
I live in Velm. | I'm living in Corin now.
I'm based in Velm. | I'm now based in Corin.
I work at Norde. | I now work for Velm Labs.
I work at Norde. | I started working at Velm Labs.
I work at Norde. | I got a new job at Velm Labs.
I work as a nurse. | I work as a teacher now.
My job is nursing. | My job is teaching.
My favourite colour is blue. | My favourite colour is green now.
My favorite food is ramen. | My favorite food is curry.
My favourite band is The Owls. | These days my favourite band is The Larks.
My phone number is 555 0134. | My new phone number is 555 0199.
My email is jo@norde.example. | My email address is jo@velm.example.
My wife's name is Ida. | My wife's name is Olga.
I'm married to Ida. | I'm married to Olga.
I weigh 80 kg. | I weigh 76 kg.
I have two cats. | I have three cats now.
I have 3 kids. | I have 4 kids.
I drive a Norde Sedan. | I drive a Velm Coupe now.
I am 34 years old. | I am 35 years old.
I'm 34. | I'm 35.
My rent is 900 euros. | My rent is 1,000 euros.
My salary is 40,000. | My salary is 45,000.
My boss is Ida Berg. | My boss is Olaf Lind.
My dentist is Dr. Berg. | My dentist is Dr. Lind.
My flight is at 9:30. | My flight is at 11:15.
My appointment is on Tuesday. | My appointment is on Friday.
I study at Velm University. | I study at Corin University.
My doctor's appointment is on 3 May. | My doctor's appointment is on 10 May.
My landlord is Ida. | My landlord is Olaf.
I live in Ardburg with my parents. | I live in Lowtown with my girlfriend.
We live in Ardburg. | We live in Lowtown these days.
My address is 4 Mill Road. | My new address is 9 Quay Street.
My major is history. | My major is physics.
My manager is Lena. | My new manager is Piet.
I started a new job at Harbour Trust. | I began working for Silver Line.
My daughter's school is Hill High. | My daughter's school is Quay High.
My wedding is on 4 June. | My wedding is on 9 July.
I work for Harbour Trust. | I quit my job at Harbour Trust.
I play chess. | I quit playing chess.
I love jazz. | I can't stand jazz.
I'm 29 years old. | I'm 30 years old.
My weight is 80 kg. | My weight is 76 kg.
Our budget is 3,000 euros. | Our budget is 4,500 euros.
Our deadline is Friday. | Our deadline is Monday.
My nickname is Bee. | My nickname is Zed.
"""
"""Said by Jo."""
OVER = """
I work at Norde. | I left Norde.
I work at Norde. | I no longer work at Norde.
I work at Norde. | I don't work at Norde anymore.
I live in Velm. | I don't live in Velm any more.
I have a dog. | I don't have a dog anymore.
I play tennis. | I stopped playing tennis.
I'm married to Ida. | I'm no longer married to Ida.
I like sushi. | I don't like sushi.
I like sushi. | I can't stand sushi.
I love horror films. | I hate horror films.
I eat meat. | I don't eat meat.
I'm allergic to nuts. | I'm not allergic to nuts.
Ida Berg is the mayor of Velm. | Ida Berg is no longer the mayor of Velm.
"""
"""Said by Jo: the second ends or denies the first."""
BESIDE = """
I like tea. | I like coffee.
I visited Velm. | I visited Corin.
I went to Velm in May. | I went to Corin in June.
My friend is Ida. | My friend is Olaf.
My sister is Ida. | My brother is Olaf.
My dog is called Plum. | My cat is called Pear.
I bought a lamp. | I bought a chair.
I play the piano. | I play the violin.
I speak French. | I speak German.
I have two cats. | I have three dogs.
I read The Owl. | I read The Fox.
I live in Velm. | My sister lives in Corin.
My sister lives in Velm. | My brother lives in Corin.
My favourite colour is blue. | My favourite food is curry.
I work at Norde. | My wife works at Velm Labs.
I live in Velm. | I want to live in Corin.
I live in Velm. | I am thinking about moving to Corin.
I live in Velm. | I used to live in Corin.
I work at Norde. | In 2015 I worked at Velm Labs.
The capital of Aster is Velm. | The capital of Norde is Corin.
The capital of Aster is Velm. | The largest city of Aster is Corin.
Norde Inc. was founded in 1946. | Norde Inc. was founded by Ida Berg.
The author of The Owl is Ida Berg. | The author of The Fox is Ida Berg.
The director of The Owl is Ida Berg. | The author of The Owl is Olaf Lind.
Ida Berg is a nurse. | Ida Berg is a mother.
I am allergic to nuts. | I am allergic to milk.
I am a vegetarian. | I am a pianist.
I'm tired. | I'm happy.
My daughter is five years old. | My son is seven years old.
My home phone number is 555 0134. | My work phone number is 555 0199.
I need to buy milk. | I need to call Ida.
I don't like tea. | I don't like coffee.
Ida told me about Velm. | Ida told me about Corin.
Olaf Lind is the son of Ida Berg. | Rasmus Lind is the son of Ida Berg.
The mayor of Velm is Ida Berg. | The mayor of Corin is Olaf Lind.
The deputy mayor of Velm is Ida Berg. | The mayor of Velm is Olaf Lind.
I have a meeting on Monday. | I have a meeting on Tuesday.
My meeting with Ida is on Monday. | My meeting with Olaf is on Tuesday.
My brother's job is nursing. | My sister's job is teaching.
Lena is the sister of Piet. | Mira is the sister of Piet.
The sequel of Silver Line is Gold Line. | The author of Silver Line is Lena Moss.
Lena Moss is a fan of jazz. | Lena Moss is a fan of folk.
Lena Moss wrote Silver Line. | Lena Moss wrote Gold Line.
I met Lena on Monday. | I met Piet on Tuesday.
I'm reading Silver Line. | I'm reading Gold Line.
My brother lives in Ardburg. | I live in Lowtown.
My old address was 4 Mill Road. | My hobby is sailing.
I enjoy sailing. | I enjoy rowing.
I started playing chess. | I started playing the cello.
I stopped eating meat. | I stopped drinking coffee.
Our trip to Ardburg is in June. | Our trip to Lowtown is in July.
I teach maths. | I teach physics.
Lena was the mayor of Ardburg. | Lena is the mayor of Lowtown.
I was in Ardburg in May. | I was in Lowtown in June.
I have a cat. | I have a dog.
"""
"""Said by Jo: both hold."""
BEYOND = """
Who Goes There was performed by Lena Moss. | Who Goes There was performed by Piet Vos.
The headquarters of Harbour Trust is in Ardburg. | The headquarters of Harbour Trust is in Lowtown.
My flight leaves at 9:30. | My flight leaves at 11:15.
My cat is called Plum. | My cat is called Pear.
My car is red. | My car is blue.
I am single. | I am married to Ida.
I prefer tea. | I prefer coffee now.
I'm vegetarian. | I'm vegan now.
I have one brother. | I have two brothers.
I use Windows. | I switched to Linux.
I smoke. | I quit smoking.
"""
"""Changes of many-valued attributes, or told by an event: no rule is sure of them."""


def pairs(block: str) -> list[tuple[str, str]]:
    return [(first, second) for first, _, second in (line.partition(" | ") for line in block.strip().splitlines())]


def closed(first: str, second: str, speaker: str | None) -> list[Claim]:
    """What the first text said and no longer holds after the second."""
    claims: list[Claim] = []
    of_first: set[UUID] = set()
    for day, text in ((0, first), (30, second)):
        at = START + timedelta(days=day)
        for fact in extract(Source(text, at, speaker)).facts:
            claims.append(claim_of(UUID(int=len(claims) + 1), fact, said_at=at))
            if day == 0:
                of_first.add(claims[-1].memory_id)
    verdicts = reconcile_all(claims)
    ended = {effect.memory_id for verdict in verdicts for effect in verdict.effects if effect.closes_at is not None}
    return [claim for claim in claims if claim.memory_id in ended & of_first]


@pytest.mark.parametrize(("first", "second"), pairs(OF_THE_WORLD))
def test_a_later_statement_about_the_same_thing_replaces_the_earlier(first: str, second: str) -> None:
    assert closed(first, second, None)


@pytest.mark.parametrize(("first", "second"), pairs(OF_ONESELF) + pairs(OVER))
def test_what_somebody_says_anew_of_themselves_replaces_what_they_said(first: str, second: str) -> None:
    assert closed(first, second, "Jo")


@pytest.mark.parametrize(("first", "second"), pairs(BESIDE))
def test_what_can_both_be_true_stays_so(first: str, second: str) -> None:
    assert closed(first, second, "Jo") == []


@pytest.mark.parametrize(("first", "second"), pairs(BEYOND))
def test_what_no_rule_sees_is_left_standing_rather_than_guessed_at(first: str, second: str) -> None:
    assert closed(first, second, "Jo") == []
