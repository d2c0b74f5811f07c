"""Classes of phones, worked out by hand from the table of corpora."""

from __future__ import annotations

import pytest

from lam_sb.corpora.phones import (
    PHONE_SETS,
    TABLE,
    VOWELS,
    detect_phone_set,
    phone_class,
    phone_classes,
    phone_spans,
)
from lam_sb.errors import UserError

# Phones, and the class of each: one of the six vowels, C consonant, V another
# vowel, - no phone of the set.
ARPA = [
    ("AA1 AA", "a a"),
    ("EH0 EH2", "ɛ ɛ"),
    ("IY1 IY", "i i"),
    ("OW2 OW", "o o"),
    ("UW0 UW", "u u"),
    ("AH0", "ə"),
    ("AH1", "V"),
    ("AH2", "V"),
    ("AH", "V"),  # without stress nobody knows
    ("AH0 AH1 AH0", "ə V ə"),
    ("ER0 ER1 ER", "V V V"),
    ("AY1 AW1 OY1 EY1", "V V V V"),
    ("AE1 AO2 IH0 UH1", "V V V V"),
    ("AE AO IH UH AY AW OY EY", "V V V V V V V V"),
    ("B CH D DH F G HH JH K L M N", "C C C C C C C C C C C C"),
    ("NG P R S SH T TH V W Y Z ZH", "C C C C C C C C C C C C"),
    ("W OW1 Y UW1 IY0 AA0 N", "C o C u i a C"),
    ("SH IY1 W AO1 K S", "C i C V C C"),  # she walks
    ("DH AH0 K AH1 P", "C ə C V C"),  # the cup
    ("breath AX aa ɑ", "- - - -"),
]
MFA_ENGLISH = [
    ("ɑ ɑː", "a a"),
    ("ɛ ɛː", "ɛ ɛ"),
    ("ə", "ə"),
    ("i iː", "i i"),
    ("ow", "o"),
    ("ʉ ʉː u uː", "u u u u"),
    ("aj aw ej ɔj əw", "V V V V V"),
    ("æ ɐ ɪ ʊ ɒ ɒː ɔ ʌ", "V V V V V V V V"),
    ("ɝ ɚ ɜ ɜː", "V V V V"),
    ("a aː e eː o oː", "V V V V V V"),  # of the UK, Nigeria and India
    ("n̩ m̩ ɫ̩", "C C C"),
    ("b ə t n̩", "C ə C C"),  # button
    ("p pʰ pʲ pʷ t tʰ tʲ tʷ k kʰ kʷ", "C C C C C C C C C C C"),
    ("c cʰ cʷ ɟ ɟʷ ɡʷ fʷ vʲ ɾʲ ʈʲ ʈʷ", "C C C C C C C C C C C"),
    ("tʃ dʒ θ ð ʃ ʒ ç h s z f v", "C C C C C C C C C C C C"),
    ("m ɱ n ɲ ŋ l ɫ ʎ ɹ ɾ ɾ̃ ʋ w j", "C C C C C C C C C C C C C C"),
    ("t̪ d̪ ʈ ɖ b d ɡ kp ɡb ʔ", "C C C C C C C C C C"),
    ("w o kʷ o", "C V C V"),  # no Mandarin o
    ("ɑʷ əʲ AA zh", "- - - -"),
]
MFA_MANDARIN = [
    ("a˥ a˧˥ a˨˩˦ a˥˩ a˩ a", "a a a a a a"),
    ("e˥ e˥˥", "ɛ ɛ"),
    ("ə˥˩ ə˨", "ə ə"),
    ("i˧˥ i", "i i"),
    ("u˨˩˦ u", "u u"),
    ("t w o˥", "C C o"),  # 多
    ("w o˨˩˦", "C o"),  # 我
    ("pʷ o˥ xʷ o˥˩ tʷ o", "C o C o C o"),
    ("k o˥ k o", "C ə C ə"),  # 哥哥
    ("ʂ o˥ ŋ", "C ə C"),  # 生
    ("o˥", "ə"),
    ("w a o", "C a ə"),
    ("x aw˥ o˥", "C V ə"),  # 好 ends in w, but is a diphthong
    ("k ow˨˩˦ o", "C V ə"),
    ("pʰ o tsʰ o", "C ə C ə"),
    ("ow˥ ou˥ aj˧˥ ai˧˥ aw au ej ei", "V V V V V V V V"),
    ("y˥˩ ɥ e˥˩", "V C ɛ"),
    ("s z̩˥ ʂ ʐ̩˥˩ z̩ ʐ̩", "C V C V V V"),
    ("t j e˥ n", "C C ɛ C"),  # 天
    ("ɕ j u˥ ŋ", "C C u C"),  # 兄
    ("p pʰ pʲ m mʲ f t tʰ tʲ n l", "C C C C C C C C C C C"),
    ("ts tsʰ s ʈʂ ʈʂʰ ʂ ʐ tɕ tɕʰ tɕʷ ɕ ɕʷ", "C C C C C C C C C C C C"),
    ("k kʰ kʷ x xʷ ŋ ɲ ʎ ɻ ʔ w j ɥ", "C C C C C C C C C C C C C"),
    ("m̩˧˥ n̩˥˩ ŋ̍˨˩˦", "C C C"),
    ("ʔ o˥˩ ɻ", "C ə C"),
    ("ɹ b d ii AH0", "- - - - -"),
]
CODA_SEPARATE = [
    ("b a1 m a5", "C a C a"),
    ("a1 n a4 ng", "a C a C"),  # 安昂
    ("h ua1 h ua2 n h ua2 ng", "C a C a C C a C"),
    ("j ia1", "C a"),
    ("t ia1 n", "C ɛ C"),  # 天
    ("t ia1 n l e5", "C ɛ C C ə"),
    ("t ia1 n a4", "C a C a"),  # tia + na: n begins a syllable here
    ("x ia4 n iou2", "C a C V"),  # 下牛
    ("x ia1 ng ia4 n", "C a C ɛ C"),  # 相验
    ("ia1 n y", "ɛ C C"),
    ("ia1", "a"),
    ("q va2 n", "C ɛ C"),  # 全
    ("q va2 n uo3", "C ɛ C o"),  # va never stands without its n
    ("b ie2 x ve2", "C ɛ C ɛ"),
    ("d e5 m e5 n n e2 ng", "C ə C ə C C ə C"),
    ("e4 r", "V C"),  # 二
    ("e2 r z ii5", "V C C V"),  # 儿子
    ("e4 r e4", "ə C ə"),  # 饿热
    ("zh e4 r", "C V C"),  # 这儿
    ("k e3 n", "C ə C"),
    ("d ue4 n ue4", "C ə C ə"),
    ("h ue1 n x ve2", "C ə C C ɛ"),
    ("b i3 j i1 n x i1 ng", "C i C i C C i C"),
    ("g uo2 b o1 o2", "C o C o o"),
    ("d o1 ng", "C u C"),
    ("d o1 ng uo3", "C u C o"),  # ng begins no syllable
    ("x io2 ng", "C u C"),
    ("io1", "V"),
    ("sh u1", "C u"),
    ("n v3 j v1 j v1 n", "C V C V C V C"),
    ("s ii1 sh ii4 sh iii4", "C V C V C V"),
    ("ai1 ei1 ao1 ou1 iao1 iou1 uai1 uei1", "V V V V V V V V"),
    ("d iu1 d ui4", "C V C V"),
    ("y ie4 y i1 w o3 y a n", "C ɛ C i C o C ɛ C"),
    ("zh ch sh r z c s j q x g k h w y", "C C C C C C C C C C C C C C C"),
]
WHOLE_FINALS = [
    ("an1 ang1 t ian1", "a a C ɛ"),
    ("ia1 iang1 ua1 uan1 uang1 a1", "a a a a a a"),
    ("ie2 ve2 ian2 van2", "ɛ ɛ ɛ ɛ"),
    ("x ia4 n ian2", "C a C ɛ"),  # 下年: ia is always a
    ("x ia4 r en2", "C a C ə"),
    ("e4 en2 eng2 uen2 ueng1", "ə ə ə ə ə"),
    ("d un4 n e5", "C ə C ə"),
    ("e4 r en2", "ə C ə"),  # 恶人
    ("er2", "V"),
    ("er2 z i5", "V C V"),
    ("i4 in1 ing2", "i i i"),
    ("o1 uo3", "o o"),
    ("u4 d ong1 x iong2", "u C u C u"),
    ("v4 vn1 ü4 ün1", "V V V V"),
    ("l üe4 üan2", "C ɛ ɛ"),
    ("yu2 yue4 yuan2 yun2", "V ɛ ɛ V"),
    ("j u1 x un4 y u2", "C V C V C V"),  # ü is written u after j q x y
    ("x ue2 q uan2 y uan2", "C ɛ C ɛ C ɛ"),
    ("j ua1 n l u4", "C ɛ C C u"),
    ("y an2 y e4 y ang2 y ao4", "C ɛ C ɛ C a C V"),
    ("y i1 y in1 y ou3 y ong4", "C i C i C V C u"),
    ("w u3 w o3 w en4 w an2 w ei2", "C u C o C ə C a C V"),
    ("zh i1 ch i1 sh i4 r i4", "C V C V C V C V"),  # apical
    ("z i4 c i2 s i4 x i1", "C V C V C V C i"),
    ("z ii4 sh iii4 sh ir4", "C V C V C V"),
    ("ai ei ao ou iao iou iu uai uei ui", "V V V V V V V V V V"),
    ("kʰ spn AA aː˥ ə", "- - - a -"),
]
ESPEAK = [
    # Kids are talking by the door.
    (
        "k ˈɪ d z ɑːɹ t ˈɔː k ɪ ŋ b aɪ ð ə d ˈɔːɹ",
        "C V C C V C V C V C C V C ə C V",
    ),
    ("h ˈɑː t b ˈɛ d s iː ɡ ˈoʊ ɾ ˈuː", "C a C C ɛ C C i C o C u"),
    # Der Lappen liegt auf dem Eisschrank.
    ("d ɛ ɾ l ˈa p ə n l ˈiː k t aʊ f", "C ɛ C C a C ə C C i C C V C"),
    ("ʃ ˈøː n ɜ b ˈyː n ə ˌyː b ɜ pf", "C V C V C V C ə V C V C"),
    # La casa; gnocchi; uomini
    ("l a k ˈa z a ɲ ˈo k ɪ w ˈɔ m i n ɪ", "C a C a C a C o C V C V C i C V"),
    # 我, 天, 全, 哥, 是, 字, 二, 中, 家, 雨, 好
    ("w ˈo th ˈiɛ n tɕh j ˈyæ n k o-", "C o C ɛ C C C ɛ C C ə"),
    ("s. ˈi. ts i̪ ˈər ts. ˈonɡ tɕ ˈiɑ j ˈy χ ˈɑu", "C V C V V C u C a C V C V"),
    ("AA kʰ \ufffd", "- - -"),
]
CASES = [
    (phone_set, *case)
    for phone_set, cases in (
        ("arpa", ARPA),
        ("mfa_english", MFA_ENGLISH),
        ("mfa_mandarin", MFA_MANDARIN),
        ("pinyin", CODA_SEPARATE),
        ("pinyin", WHOLE_FINALS),
        ("espeak", ESPEAK),
    )
    for case in cases
]
NAMES = {"C": "consonant", "V": "vowel", "-": ""}


@pytest.mark.parametrize(("phone_set", "phones", "expected"), CASES)
def test_classes_by_hand(phone_set, phones, expected):
    names = [NAMES.get(name, name) for name in expected.split()]
    assert phone_classes(phones.split(), phone_set) == names


def test_each_vowel_has_a_phone_in_each_set():
    assert VOWELS == ("a", "ɛ", "ə", "i", "o", "u")
    for phone_set in PHONE_SETS:
        found = {
            name
            for of_case, phones, _ in CASES
            if of_case == phone_set
            for name in phone_classes(phones.split(), phone_set)
        }
        assert found == {*VOWELS, "vowel", "consonant", ""}


@pytest.mark.parametrize("phone_set", PHONE_SETS)
def test_no_phone_stands_in_two_classes(phone_set):
    phones = " ".join(TABLE[phone_set].values()).split()
    assert len(set(phones)) == len(phones)


@pytest.mark.parametrize("phone_set", PHONE_SETS)
def test_an_utterance_without_phones_has_no_classes(phone_set):
    assert phone_classes([], phone_set) == []


@pytest.mark.parametrize(
    ("apart", "whole", "spelled", "expected"),
    [
        ("a", "a", "a", "a"),
        ("o", "o", "o", "o"),
        ("e", "e", "e", "ə"),
        ("i", "i", "y i", "i"),
        ("u", "u", "w u", "u"),
        ("v", "ü", "y u", "V"),
        ("ia", "ia", "y a", "a"),
        ("ie", "ie", "y e", "ɛ"),
        ("ua", "ua", "w a", "a"),
        ("uo", "uo", "w o", "o"),
        ("ve", "üe", "y ue", "ɛ"),
        ("ai", "ai", "ai", "V"),
        ("ei", "ei", "ei", "V"),
        ("ao", "ao", "ao", "V"),
        ("ou", "ou", "ou", "V"),
        ("iao", "iao", "y ao", "V"),
        ("iou", "iu", "y ou", "V"),
        ("uai", "uai", "w ai", "V"),
        ("uei", "ui", "w ei", "V"),
        ("a n", "an", "an", "a"),
        ("e n", "en", "en", "ə"),
        ("i n", "in", "y in", "i"),
        ("ia n", "ian", "y an", "ɛ"),
        ("ua n", "uan", "w an", "a"),
        ("va n", "van", "y uan", "ɛ"),
        ("ue n", "un", "w en", "ə"),
        ("v n", "vn", "y un", "V"),
        ("a ng", "ang", "ang", "a"),
        ("e ng", "eng", "eng", "ə"),
        ("i ng", "ing", "y ing", "i"),
        ("ia ng", "iang", "y ang", "a"),
        ("ua ng", "uang", "w ang", "a"),
        ("ue ng", "ueng", "w eng", "ə"),
        ("o ng", "ong", "ong", "u"),
        ("io ng", "iong", "y ong", "u"),
        ("e r", "er", "er", "V"),
    ],
)
def test_a_final_of_pinyin_has_one_vowel_however_it_is_written(
    apart, whole, spelled, expected
):
    for written in (apart, whole, spelled):
        classes = phone_classes([*written.split(), "b"], "pinyin")
        (vowel,) = [name for name in classes if name != "consonant"]
        assert vowel == NAMES.get(expected, expected)


# Spans


def test_spans_have_classes_and_times_without_what_is_no_phone():
    phones = [["t", 0.1, 0.2], ["ia1", 0.2, 0.4], ["n", 0.4, 0.5]]
    noise = [["spn", 0.5, 0.9]]
    assert phone_spans(phones + noise, "pinyin") == [
        ["consonant", 0.1, 0.2],
        ["ɛ", 0.2, 0.4],
        ["consonant", 0.4, 0.5],
    ]
    assert phone_spans(noise, "pinyin") == phone_spans([], "") == []


@pytest.mark.parametrize(
    ("pause", "expected"), [(0.0, "a"), (0.009, "a"), (0.02, "ɛ")]
)
def test_what_stands_after_a_pause_is_no_neighbour(pause, expected):
    # ia na, or ian and after a pause a
    phones = [["ia", 0.0, 0.1], ["n", 0.1, 0.2], ["a", 0.2 + pause, 0.5]]
    names = [name for name, _, _ in phone_spans(phones, "pinyin")]
    assert names == [expected, "consonant", "a"]


# Which set


@pytest.mark.parametrize(
    ("phone_set", "labels"),
    [
        ("arpa", "DH AH0 K AE1 T"),
        ("arpa", "S IY"),
        ("mfa_english", "ð ə kʰ æ t"),
        ("mfa_english", "b ɑː tʃ"),
        ("mfa_mandarin", "tɕ i˥˩ w o˨˩˦"),
        ("mfa_mandarin", "n i˨˩˦ x aw"),
        ("pinyin", "zh e4 t ia1 n"),
        ("pinyin", "x ve2 sh eng1"),
    ],
)
def test_the_set_that_has_all_phones_is_found(phone_set, labels):
    assert detect_phone_set(labels.split()) == phone_set


@pytest.mark.parametrize(
    ("labels", "listed"),
    [
        ("AH0 K zh ong1 B T", "arpa, .* does not have: ong1, zh."),
        ("t ia n zh AH0 K", "pinyin, .* does not have: AH0, K."),
        ("ð ə æ ʈʂ ɕ b", "mfa_english, .* does not have: ɕ, ʈʂ."),
        # What none of them has stands first.
        ("AH0 K zh [noise] B T", r"does not have: \[noise\], zh."),
        ("Q1 Q2", r"does not have: Q1, Q2\. Name the set with the option"),
    ],
)
def test_a_mixed_or_unknown_set_is_refused_with_its_phones(labels, listed):
    with pytest.raises(UserError, match=listed) as error:
        detect_phone_set(labels.split())
    message = str(error.value)
    assert (
        "phone_set: arpa, mfa_english, mfa_mandarin, pinyin, espeak." in message
    )


@pytest.mark.parametrize(
    ("labels", "fitting"),
    [
        ("k i w e", "mfa_english and mfa_mandarin and pinyin"),
        ("kʰ a˥ tʰ a", "mfa_english and mfa_mandarin"),
    ],
)
def test_phones_of_several_sets_alike_are_refused(labels, fitting):
    listed = ", ".join(sorted(set(labels.split())))
    with pytest.raises(UserError, match="option phone_set") as error:
        detect_phone_set(labels.split())
    assert f"of {fitting} alike: {listed}." in str(error.value)


def test_many_foreign_phones_are_counted():
    foreign = [f"X{n:02d}Y" for n in range(25)]
    with pytest.raises(UserError) as error:
        detect_phone_set(["AH0", *foreign])
    message = str(error.value)
    assert f": {', '.join(foreign[:20])}, ... (25 in all). Name" in message


def test_a_phone_alone_is_of_a_set_or_not():
    assert phone_class("ia", "pinyin") == "a"
    assert phone_class("AH0", "pinyin") == ""
