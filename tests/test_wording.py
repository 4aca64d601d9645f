"""What sentences say: negation, wishes, word lists by morphemes, wording that is not scored."""

from __future__ import annotations

import sys
import threading
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("kiwipiepy")

from make_measures import AIHUB, make_input, pick
from make_measures import chances as chances_of
from make_measures import reason as reason_of
from nunbit.core.messages import MissingExtra
from nunbit.core.streams import Interval, Transcript, Utterance, Word
from nunbit.language import morphemes as adapter
from nunbit.language.labels import load_label_set
from nunbit.language.morphemes import analyser_missing, morphemes
from nunbit.language.passages import find_passages, has_passage, may_hold_passage
from nunbit.language.polarity import find_turns
from nunbit.measures.class_probabilities import reasons_left_out, text_chances
from nunbit.measures.definitions import definition_of
from nunbit.measures.fusion import fuse_windows
from nunbit.measures.wording import (
    LISTED,
    Wording,
    find_in_korean,
    find_passage_groups,
    load_lexicon,
    read_wording,
)
from nunbit.model.bundle import default_bundle_path
from nunbit.model.encoders import Bundle, load_bundle
from nunbit.stories.doctor import examine

SENTENCES = Path(__file__).parent / "sentences"
POSITIVE, NEGATIVE = LISTED.index("positive"), LISTED.index("negative")

Said = tuple[str, str, str, bool]


def listed(*names: str) -> list[Said]:
    """(kind, text, says, plain) of the lists of sentences."""
    found: list[Said] = []
    for name in names:
        document = tomllib.loads((SENTENCES / f"{name}.toml").read_text(encoding="utf-8"))
        if name == "plain":
            says = {"joy": "positive", "sadness": "negative", "anger": "negative"}
            found += [
                (k, t, says.get(k, "neutral"), True) for k, ts in document.items() for t in ts
            ]
            continue
        for group in document["group"]:
            plain = bool(group.get("plain"))
            found += [(group["kind"], text, says, plain) for text, says in group["sentences"]]
    return found


def spoken(*texts: str, gap_s: float = 10.0, speaker: str | None = None) -> Transcript:
    """Utterances with words; 3 s each."""
    utterances = []
    for i, text in enumerate(texts):
        start, parts = (3.0 + gap_s) * i, text.split()
        step = 3.0 / max(1, len(parts))
        words = tuple(
            Word(Interval(start + k * step, start + (k + 1) * step), part, syllables=len(part))
            for k, part in enumerate(parts)
        )
        utterances.append(Utterance(Interval(start, start + 3.0), text, speaker, words=words))
    return Transcript(tuple(utterances), "srt", "ko")


def wording(text: str) -> Wording:
    return read_wording(spoken(text))[0]


def counted(found: Wording, column: int) -> int:
    return sum(bool(row) and row[column] for row in found.counts)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(default_bundle_path(), threads=1)


@pytest.fixture
def no_analyser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "find_spec", lambda name: None)


# -- the lists ------------------------------------------------------------------------------------


def test_a_third_of_the_list_is_plain() -> None:
    said = listed("polarity")
    own = [s for s in said if s[0] != "review"]
    assert len(own) >= 60
    assert sum(plain for *_, plain in said) >= len(said) / 3.2
    assert len({text for _, text, _, _ in said}) == len(said)
    assert len(listed("plain")) == 100


@pytest.mark.parametrize("name", ["polarity", "plain", "held_out", "held_out_4"])
@pytest.mark.seconds
def test_no_word_of_the_wrong_sign_is_counted(name: str) -> None:
    said = listed(name)
    wrong = []
    for (_, text, says, _), found in zip(
        said, read_wording(spoken(*(text for _, text, _, _ in said))), strict=True
    ):
        good, bad = counted(found, POSITIVE), counted(found, NEGATIVE)
        if says == "not_scored" and (found.unscored != "not_scored" or found.counts):
            wrong.append(text)
        if (says in ("negative", "wish") and good) or (says == "positive" and bad):
            wrong.append(text)
    assert wrong == []


@pytest.mark.slow
def test_no_class_of_the_wrong_sign_with_the_shipped_model(bundle: Bundle) -> None:
    said = listed("polarity", "plain")
    found = text_chances(bundle, spoken(*(text for _, text, _, _ in said)))
    assert found.chances is not None
    signs = np.array([label.valence for label in bundle.label_set.labels])
    wrong, masked = [], []
    for (kind, text, says, plain), row, reason in zip(
        said, found.chances, found.reasons, strict=True
    ):
        assert np.isnan(row).all() == bool(reason)
        assert reason in ("", "negated", "wish", "not_scored", "low_conf")
        assert (reason == "not_scored") == (says == "not_scored")
        if plain:
            masked += [text] if reason and len(said) else []
            continue
        sign = 0 if reason else signs[row.argmax()]
        if sign == {"positive": -1, "negative": 1, "wish": 1}.get(says):
            wrong.append((kind, text))

    assert wrong == []
    plain = {text for _, text, _, _ in listed("plain")}
    assert len(plain & set(masked)) <= 5
    assert len(masked) <= 0.05 * sum(p for *_, p in said)


# -- negation and wishes --------------------------------------------------------------------------


def turned(text: str) -> dict[str, set[str]]:
    """Kind of turn -> forms that it reaches."""
    flow = morphemes(text)
    found: dict[str, set[str]] = {}
    for turn in find_turns(flow):
        found.setdefault(turn.kind, set()).update(flow[i].form for i in turn.reach)
    return found


@pytest.mark.parametrize(
    ("text", "kind", "reached", "spared"),
    [
        ("좋은 게 하나도 없어요", "not", "좋", ""),
        ("행복했던 적이 없어요", "not", "행복", ""),
        ("안좋아요", "not", "좋", ""),
        ("기쁨을 못 느껴요", "not", "기쁨", ""),
        ("슬프지 않아요", "not", "슬프", ""),
        ("기쁘지도 즐겁지도 않아요", "not", "기쁘 즐겁", ""),
        ("비가 안 와서 좋았어요", "not", "오", "좋"),
        ("걱정 없이 행복해요", "not", "걱정", "행복"),
        ("웃고 떠들 수가 없어요", "not", "웃 떠들", ""),
        ("밥도 먹고 웃지 않았어요", "not", "웃", "먹"),
        ("다들 즐거워하는데 저는 그러지 못해요", "not", "즐거워하", ""),
        ("행복하기는커녕 피곤해요", "not", "행복", "피곤"),
        ("웃음을 잃었어요", "lack", "웃음", ""),
        ("면접에서 떨어졌어요", "lack", "", "면접"),
        ("행복이 뭔지 모르겠어요", "hard", "행복", ""),
        ("행복했으면 좋겠어요", "wish", "행복 좋", ""),
        ("행복했음 좋겠어요", "wish", "행복 좋", ""),
        ("웃으면서 살고 싶어요", "wish", "웃 살", ""),
        ("즐거웠고 또 가고 싶어요", "wish", "가", "즐겁"),
        ("편안하길 바라요", "wish", "편안", ""),
        ("행복해질 수 있을까요", "doubt", "행복", ""),
        ("정말 기뻐하셨을 텐데", "doubt", "기뻐하", ""),
        ("고맙다고 말할걸 그랬어요", "doubt", "고맙", ""),
        ("기뻐해야 하는데 눈물만 나요", "doubt", "기뻐하", "눈물"),
        ("행복할 뻔했어요", "hard", "행복", ""),
        ("좋다 말았어요", "hard", "좋", ""),
        ("만족스럽냐고 하면 그건 아니고요", "not", "만족", ""),
        ("기쁘다기보다 허전했어요", "not", "기쁘", "허전"),
        ("행복하긴요", "not", "행복", ""),
        ("행복이 어디 있어요", "hard", "행복", ""),
        ("희망이고 뭐고 다 없어졌어요", "not", "희망", ""),
        ("좋았었는데 지금은 엉망이에요", "hard", "좋", "엉망"),
        ("우울했는데 지금은 괜찮아요", "lack", "우울", "괜찮"),
        ("힘든 줄도 모르고 일했어요", "lack", "힘들", ""),
        ("미운 마음이 사라졌어요", "lack", "밉", ""),
        ("다들 즐거워 보여요", "hard", "즐겁", ""),
        ("좋은 일이 생기려나", "doubt", "좋", ""),
        ("별로 행복하지안아요", "not", "행복", ""),
        ("재미 하나도 업써요", "not", "재미", ""),
    ],
)
def test_what_a_negation_or_wish_is_about(text: str, kind: str, reached: str, spared: str) -> None:
    found = turned(text).get(kind, set())
    assert set(reached.split()) <= found
    assert not set(spared.split()) & found


NEGATES_NOTHING = """날씨가 좋잖아요|좋잖아|말할 수 없이 기뻐요|더할 나위 없이 좋아요|너밖에 없어요
웃을 수밖에 없었어요|얼마나 좋은지 몰라요|정말 행복해요|그렇게 좋을 수가 없었어요|비가 오면 좋아요
여간 기쁜 게 아니에요||uh 2024 OK|음 어|ㅋㅋㅋ 😀"""


@pytest.mark.parametrize("text", NEGATES_NOTHING.replace("\n", "|").split("|"))
def test_what_negates_nothing(text: str) -> None:
    assert not {"not", "wish"} & set(turned(text))


def test_words_that_are_taken_back_count_for_nothing_and_turn_no_class() -> None:
    for text, positive, negative in [
        ("행복했던 적이 없어요", "negated", ""),
        ("행복했으면 좋겠어요", "wish", ""),
        ("별로 힘들지 않았어요", "negated", "negated"),
        ("슬프지 않은 날이 없어요", "negated", "negated"),
        ("비가 안 와서 정말 좋았어요", "", ""),
        ("정말 슬퍼요", "", ""),
        ("의욕도 없고 아무것도 하고 싶지 않아요", "negated", ""),
    ]:
        found = wording(text)
        assert (found.positive, found.negative) == (positive, negative), text
    assert counted(wording("걱정 없이 행복해요"), POSITIVE) == 1
    assert counted(wording("걱정 없이 행복해요"), NEGATIVE) == 0


def test_words_that_count_in_no_rate_still_take_back_a_class() -> None:
    for text in ("화낼 일이 아니더라고요", "겁먹을 필요 없어", "지루할 틈이 없었다"):
        found = wording(text)
        assert found.negative == "negated", text
        assert counted(found, NEGATIVE) == 0
    assert wording("너무 지루했어요").negative == ""
    assert counted(wording("너무 지루했어요"), NEGATIVE) == 0


def test_reasons_follow_the_sign_of_the_class() -> None:
    labels = load_label_set("fer7")
    joy, sad, neutral = (np.eye(7)[labels.ids.index(x)] for x in ("joy", "sadness", "neutral"))
    found = read_wording(
        spoken(
            "행복한 적이 없어요",
            "별로 힘들지 않았어요",
            "우산을 안 가져왔어요",
            "네",
            "Nice to meet you",
        )
    )
    for chances, expected in [
        (joy, ("negated", "negated", "negated", "not_scored", "not_scored")),
        (sad, ("", "negated", "", "not_scored", "not_scored")),
        (neutral, ("", "", "", "not_scored", "not_scored")),
    ]:
        assert reasons_left_out(found, np.tile(chances, (5, 1)), labels) == expected
    # Neutral first, but leaning to joy: with a listed word taken back that is not to be believed.
    lean = 0.6 * neutral + 0.4 * joy
    assert reasons_left_out(found, np.tile(lean, (5, 1)), labels)[:3] == ("negated", "", "")


def test_pieces_of_one_sentence_are_read_together() -> None:
    cut = read_wording(spoken("행복했던 적이", "한 번도 없어요", gap_s=0.2))
    assert [w.positive for w in cut] == ["negated", "negated"]
    assert counted(cut[0], POSITIVE) == 0
    whole = read_wording(spoken("오늘 행복했어요", "내일은 약속이 없어요", gap_s=0.2))
    assert (whole[0].positive, counted(whole[0], POSITIVE)) == ("", 1)
    # Another speaker, or a long silence, ends a sentence.
    far = read_wording(spoken("행복했던 적이", "한 번도 없어요", gap_s=9.0))
    assert far[0].positive == ""
    died = read_wording(spoken("그냥 죽고", "싶어요", gap_s=0.2))
    assert [w.unscored for w in died] == ["not_scored", "not_scored"]


def test_fillers_do_not_part_a_negation_from_its_word() -> None:
    words = [("안", False), ("어", True), ("좋아요", False)]
    said = tuple(
        Word(Interval(float(i), i + 1.0), text, filler=filler)
        for i, (text, filler) in enumerate(words)
    )
    given = Transcript((Utterance(Interval(0.0, 3.0), "안 어 좋아요", words=said),), "srt")
    (found,) = read_wording(given)
    assert found.positive == "negated"
    assert found.counts[1] == ()


# -- the analyser ---------------------------------------------------------------------------------


def test_morphemes_are_the_same_in_threads_and_again() -> None:
    texts = [f"{text} {i}" for i, (_, text, _, _) in enumerate(listed("plain"))]
    morphemes.cache_clear()
    alone = [morphemes(text) for text in texts]
    morphemes.cache_clear()
    found: dict[int, Any] = {}

    def work(k: int) -> None:
        found[k] = [morphemes(text) for text in texts]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[k] == alone for k in range(4))


@pytest.mark.parametrize(
    "text", ["", "   ", "음", "uh", "2024", "A", "ㅋㅋ", "😀", "좋아😀 안 좋아"]
)
def test_odd_texts_have_places_inside_them(text: str) -> None:
    for m in morphemes(text):
        assert 0 <= m.start <= m.end <= len(text)
    read_wording(spoken(text or " "))


@pytest.mark.usefixtures("no_analyser")
def test_without_the_analyser_nothing_korean_is_believed(bundle: Bundle) -> None:
    missing = analyser_missing()
    assert missing is not None
    assert "pip install 'nunbit[asr]'" in missing.text.en
    assert "pip install 'nunbit[asr]'" in missing.text.ko
    given = spoken("정말 행복해요", "죽고 싶어요", "I am not sad")
    korean, unscored, english = read_wording(given)
    assert korean.unscored == "no_analyser"
    assert unscored.unscored == "not_scored"
    assert english.unscored == ""
    found = text_chances(bundle, given)
    assert found.reasons == ("no_analyser", "not_scored", "not_scored")
    assert found.chances is not None
    assert np.isnan(found.chances).all()
    (absent,) = found.missing
    assert absent["what"] == "analyser"
    assert absent["install"] == "pip install 'nunbit[asr]'"
    assert any("nunbit[asr]" in f.text.en for f in examine() if f.topic == "korean words")


@pytest.mark.parametrize("name", ["kiwipiepy", "kiwipiepy_model"])
def test_half_an_analyser_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    assert analyser_missing() is not None


def test_doctor_names_the_analyser() -> None:
    (found,) = (f for f in examine() if f.topic == "korean words")
    assert found.state == "ok"
    assert "kiwipiepy" in found.text.en


# -- word lists -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LISTED)
def test_every_entry_of_a_list_is_found_in_speech(name: str) -> None:
    lexicon = load_lexicon(name)
    ko = lexicon.ko
    said = {e: f"{e}. {e}은 {e}도" for e in (*ko.nouns, *ko.pronouns)}
    said |= {e: f"{e}. 너무 {e}" for e in ko.predicates}
    said |= {e: f"{e} 그렇다. {e}" for e in ko.words}
    said |= {e: e for e in ko.phrases}
    lost = [e for e, text in said.items() if not find_in_korean(lexicon, morphemes(text))]
    assert lost == []


@pytest.mark.parametrize("name", ["fps_rate", "fps_plural_rate", "neg_rate", "pos_rate",
                                  "absolutist_rate"])  # fmt: skip
def test_lexical_measures_are_experimental(name: str) -> None:
    definition = definition_of(name)
    assert definition is not None
    assert (definition.grade, definition.experimental, definition.version) == ("C", True, "2")


def test_pronouns_are_told_from_what_is_written_alike() -> None:
    column = LISTED.index("first_person")
    assert counted(wording("나는 어제 저 사람을 나가서 만났어요"), column) == 1
    assert counted(wording("제 말은 제가 한다는 거예요"), column) == 2


# -- wording that is not scored -------------------------------------------------------------------

NOTICED = """\
죽고싶어|그냥 콱 죽어버릴까 싶어요|저만 없으면 다 행복할 텐데|더 이상 못 살겠어요
살아있는 게 너무 싫어요|왜 사는지 모르겠어요|다시는 깨어나지 않았으면|내일 아침에 눈 안 떴으면
I want to die|죽구 싶네요|I thought about killing myself|죽고 싶진 않아요|목을 매려고 했어요
약을 털어 넣었어요|나 같은 건 죽어야 돼|삶을 포기하고 싶어요|안 태어났으면 좋았을걸
저는 사라졌으면 좋겠어요|죽을 생각까지 했어요|스스로를 해치고 싶어요|사는 의미가 없어요
자살하고 싶어요|자해했어요|차도로 뛰어들고 싶어요|옥상에서 떨어지고 싶어요|수면제를 모아 뒀어요
영영 잠들고 싶어요|모든 걸 끝내고 싶었어요|나쁜 마음을 먹은 적이 있어요|하느님이 빨리 데려갔으면
죽지 못해 살아요"""

UNNOTICED = """\
힘들어 죽겠어요|시간이 없어서 죽겠네|엄마가 죽을까 봐 무서웠어요|나무가 죽었어요
배터리가 죽었어요|이 고통이 사라졌으면 좋겠다|여드름이 사라졌으면 좋겠어요
숙제를 다 끝내고 싶어요|이 동네에서는 살기 싫어요|혼자 살기 싫어요|시끄러워서 못 살겠어요
감기약을 다 먹었어요|약을 먹었어요|넥타이를 매고 나갔어요|너 없이는 못 살아
미국에서 살고 싶지 않아요|온도가 떨어지고|손목이 아파요|손목시계를 샀어요|죽을 끓여 먹었어요
호박죽 먹고 싶다|회사를 그만두고 싶어요|한강에 가서 치킨 먹었어요|게임에서 자꾸 죽어서 화났어요
눈을 못 뜨겠어요|영화가 죽여줘요|주식에 투자해서 돈을 벌었어요|혼자살아요|골목 매우 좁아요
유서 깊은 도시예요|돈에 목을 매는 사람이에요|성적이 떨어지면 끝이에요
친구랑 떨어지고 싶지 않아요|바다에 뛰어들고 싶어요|약을 한 번에 두 알 먹어요
졸려서 눈을 뜨지 못했어요|수술하고 깨어나지 못하셨어요|할머니가 생을 마감하셨어요
오늘은 여기서 끝내고 싶어요|하나도 없었으면 좋겠어요|전투신이 길어요|추워 죽는 줄 알았어요
배고파 죽겠다|시험이 다 끝났으면 좋겠어요"""


IN_OTHER_WORDS = """\
안 좋은 생각을 한 적이 있어요|세상을 등질까도 생각했습니다|죽으면 편해질 텐데
커터칼로 그으면 좀 나아져요|지나가는 차에 뛰어들까 했어요
한강 다리 위에 서 있었던 적이 있어요|애들한테 짐만 되니까 빨리 가야 하는데|죽고시퍼요
죽고십다|저 같은 건 처음부터 없었어야 해요|살고 싶은 마음이 요만큼도 없어요
눈뜨지 않게 해 달라고 빌어요|옥상 문이 잠겨 있어서 못 뛰어내렸어요
약통을 앞에 두고 밤새 고민했어요|엄마 미안해 먼저 갈게|손목을 몇 번 그은 적이 있어요
더는 버틸 수가 없어요|내가 죽고 나면 후회할까|왜 나를 낳았어요|I am tired of living
Everyone would be better off without me"""

STILL_HARMLESS = """\
자살골을 넣었어요|죽을 만큼 사랑해요|죽기 전에 세계 여행을 하고 싶어요|죽도록 공부했어요
할아버지가 암으로 죽었어요|물고기가 죽을 것 같아요|반죽을 밀었어요|폭죽을 터뜨렸어요
기죽지 마세요|죽을 쑤어 먹었어요|칼로 사과를 깎았어요|옥상에 빨래를 널었어요
다리 위에서 불꽃놀이를 봤어요|집을 살 돈이 없어요|먼저 갈게요 내일 봬요
세상에서 제일 행복해요|나만 없어 고양이|사는 게 힘들어요|이상한 생각이 들었어요
그가 저를 때렸어요|다음 생에도 당신이랑 결혼할래요|맛이 끝내줘요|이삿짐이 많아요
부담 갖지 마세요"""


STILL_MISSED = (
    "어떻게 하면 안 아프게 갈 수 있는지 찾아봤어요",
    "그때 성공했으면 지금 이 고생도 안 하죠",
    "What's the point of living",
)
"""Of list 7; nothing in these words alone says what is meant."""

FRAMED = """\
살아갈 까닭이라고는 조금도 남아 있지 않아요|저는 왜 굳이 지금까지 살아 있나 싶어요
허벅지를 세게 꼬집고 나면 마음이 가라앉아요|내가 사라지고 나면 누가 슬퍼하기나 하겠어요
짐밖에 안 되니까 얼른 없어져야죠|인생을 이쯤에서 접을까 싶어요
죽는다는 게 예전만큼 두렵지가 않더라고요"""

NOT_FRAMED = """\
걱정이 사라졌으면 좋겠어요|모기 물린 팔을 긁으니까 시원해요|늦잠 자서 못 일어났어요|사는 게 힘들어요
졸업하면 집을 떠나고 싶어요|내일 비가 안 왔으면 좋겠어요|숙제를 다 끝내고 쉬고 싶어요
그 가게가 없어졌으면 좋겠어요|인생 계획을 정리했어요|팔이 타서 긴팔을 입었어요
머리를 벽에 박아서 혹이 났어요"""


def test_a_kind_of_wording_is_noticed_with_other_endings_and_words_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [s for s in _parts(FRAMED) if not has_passage(s)] == []
    assert [s for s in _parts(NOT_FRAMED) if has_passage(s)] == []
    assert all(may_hold_passage(s) for s in _parts(FRAMED))
    assert has_passage("밥은 먹었어요. 짐밖에 안 되니까 얼른 없어져야죠. 네.")
    assert not has_passage("짐을 다 쌌어요. 벌레가 없어졌어요.")
    missing = MissingExtra("kiwipiepy", "asr")  # then nothing Korean is scored at all
    monkeypatch.setattr("nunbit.language.passages.analyser_missing", lambda: missing)
    assert [s for s in _parts(FRAMED) if has_passage(s)] == []


def test_other_words_of_the_same_fields_are_noticed() -> None:
    assert [s for s in _parts(IN_OTHER_WORDS) if not has_passage(s)] == []
    assert [s for s in _parts(STILL_HARMLESS) if has_passage(s)] == []
    for name in ("second_eyes", "held_out_3", *(f"held_out_{k}" for k in range(4, 8))):
        said = [(text, says) for _, text, says, _ in listed(name)]
        grave = [text for text, says in said if says in ("despair", "not_scored")]
        assert [t for t in grave if not has_passage(t) and t not in STILL_MISSED] == []
        plain = [t for _, t, says, p in listed(name) if p or says in ("plain", "scored")]
        assert [text for text in plain if has_passage(text)] == []


def test_a_figure_of_speech_hides_only_what_stands_beside_it() -> None:
    """Recognisers write no full stops: several sentences may stand in one."""
    before = "어제는 수영장에서 다이빙을 배웠는데 물이 차가웠고 집에 와서"
    assert has_passage(f"{before} 혼자 있으니까 한강에 몸을 던지고 싶었어요")
    assert not has_passage("수영장에서 다이빙하며 물에 몸을 던지고 놀았어요")


def _parts(text: str) -> Sequence[str]:
    return text.replace("\n", "|").split("|")


def test_wording_of_wanting_to_die_is_noticed_and_figures_of_speech_are_not() -> None:
    assert [s for s in _parts(NOTICED) if not has_passage(s)] == []
    assert [s for s in _parts(UNNOTICED) if has_passage(s)] == []


def test_passages_are_found_in_their_sentence_only() -> None:
    text = "오늘은 좋았어요. 죽고 싶어요. 혼자 살기 싫어요."
    ((a, b),) = find_passages(text)
    assert text[a:b] == "죽고 싶"
    given = spoken("오늘은 좋았어요.", "죽고 싶어요.", "비가 와요.")
    assert find_passage_groups(given.utterances) == ((1,),)


def test_what_is_not_scored_cannot_be_told_from_a_short_answer() -> None:
    died, short = read_wording(spoken("죽고 싶어요", "네 그렇죠"))
    assert died.unscored == short.unscored == "not_scored"
    assert died.counts == short.counts == ()


# -- what the fusion makes of it ------------------------------------------------------------------


def fused_of(reasons: tuple[str, ...], **fields: Any) -> Any:
    """Ten utterances of 4 s; those with a reason have no probabilities."""
    utterances = tuple(
        Utterance(Interval(4.0 * i, 4.0 * i + 4.0), "말") for i in range(len(reasons))
    )
    table = chances_of(AIHUB, joy=np.full(len(reasons), 0.9))
    table[[bool(r) for r in reasons]] = np.nan
    given = make_input(
        4.0 * len(reasons), transcript=Transcript(utterances, "srt"), text_probabilities=table,
        text_reasons=reasons, **fields,
    )  # fmt: skip
    return fuse_windows(given)


def test_a_span_says_why_most_of_its_words_were_left_out() -> None:
    blocks = fused_of(("negated",) * 4 + ("wish",) * 3 + ("not_scored",) * 3)
    assert reason_of(blocks, "p_joy", modality="text") == "negated"
    assert np.isnan(pick(blocks, "p_joy", "session", "fused").value[0])
    found = pick(blocks, "p_joy", "window", "text")
    assert found.mask_reason[0] == "negated"
    assert found.mask_reason[-1] == "not_scored"
    assert set(found.mask_reason) == {"negated", "wish", "not_scored"}


@pytest.mark.parametrize(("left_out", "valid"), [(4, True), (5, True), (6, False), (9, False)])
def test_what_is_left_speaks_for_a_span_only_if_it_is_half_of_it(
    left_out: int, valid: bool
) -> None:
    blocks = fused_of(("negated",) * left_out + ("",) * (10 - left_out))
    found = pick(blocks, "p_joy", "session", "text")
    assert found.mask_reason[0] == ("" if valid else "negated")
    assert np.isfinite(found.value[0]) == valid
    assert found.n_valid[0] == 10 - left_out


def test_reasons_are_one_for_each_utterance() -> None:
    with pytest.raises(ValueError, match="text_reasons: expected 2, got 1"):
        make_input(
            8.0,
            transcript=spoken("하나", "둘"),
            text_probabilities=chances_of(AIHUB, joy=np.full(2, 0.9)),
            text_reasons=("negated",),
        )


def test_passages_are_found_without_the_analyser_where_there_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Loading it takes a second, for every report; nothing it says can make a passage."""
    pieces = ["죽고", "싶어", "오늘은", "정말", "좋았어요", "배고파 죽겠어", "밥 먹고"]
    rng = np.random.default_rng(0)
    for trial in range(200):
        said, at = [], 0.0
        for _ in range(8):
            at += float(rng.choice([0.5, 3.0]))
            text = " ".join(rng.choice(pieces, int(rng.integers(0, 3)))) + str(
                rng.choice(["", "."])
            )
            speaker = str(rng.choice(["A", "B"]))
            said.append(Utterance(Interval(at, at + 0.4), str(text), speaker))
        found = find_passage_groups(said)
        with monkeypatch.context() as patch:
            patch.setattr("nunbit.measures.wording._may_hold_passage", lambda *_: True)
            assert found == find_passage_groups(said), trial

    def never(text: str) -> None:
        raise AssertionError(f"analysed: {text}")

    monkeypatch.setattr("nunbit.measures.wording.morphemes", never)
    calm = [Utterance(Interval(k, k + 0.9), "오늘은 정말 좋았어요", "A") for k in range(5)]
    assert find_passage_groups(calm) == ()


def test_what_was_scored_is_not_analysed_again_for_the_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An hour's report needs no analyser where the wording is known and all of it was scored."""
    given = spoken("내일은 더 좋을 거예요", "내일 아침에 안 깨어났으면 좋겠어요", "네 그렇죠")
    wordings = read_wording(given)
    unscored = {i for i, w in enumerate(wordings) if w.unscored == "not_scored"}
    assert unscored == {1, 2}
    assert find_passage_groups(given.utterances, unscored) == ((1,),)
    assert find_passage_groups(given.utterances) == ((1,),)

    def never(text: str) -> None:
        raise AssertionError(f"analysed: {text}")

    monkeypatch.setattr("nunbit.measures.wording.morphemes", never)
    calm = spoken("내일은 더 좋을 거예요", "네 그렇죠")
    assert find_passage_groups(calm.utterances, {1}) == ()
    with pytest.raises(AssertionError, match="내일은"):
        find_passage_groups(calm.utterances)
