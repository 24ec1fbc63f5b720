"""SMS lengths, counted as 3GPP TS 23.038 and 23.040 lay down."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.channels.sms import Size, size, wanted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Size(True, 0, 0, 160)),
        ("a" * 160, Size(True, 160, 1, 0)),
        ("a" * 161, Size(True, 161, 2, 145)),
        ("a" * 306, Size(True, 306, 2, 0)),
        ("a" * 307, Size(True, 307, 3, 152)),
        ("€" * 80, Size(True, 160, 1, 0)),
        # An escape and its character are never parted: one of the first segment's 153 stays empty.
        ("€" * 81, Size(True, 162, 2, 143)),
        ("é" * 160, Size(True, 160, 1, 0)),
        ("ê", Size(False, 1, 1, 69)),
        ("п" * 70, Size(False, 70, 1, 0)),
        ("п" * 71, Size(False, 71, 2, 63)),
        ("😀" * 35, Size(False, 70, 1, 0)),
        # So is a surrogate pair: 33 of them fill 66 of 67 units.
        ("😀" * 36, Size(False, 72, 2, 61)),
    ],
)
def test_a_text_is_measured_in_the_alphabet_it_needs(text: str, expected: Size) -> None:
    assert size(text) == expected


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=700))
def test_a_longer_text_never_takes_fewer_segments(text: str) -> None:
    counts = [size(text[:end]).segments for end in range(0, len(text), 50)]
    assert counts == sorted(counts)
    measured = size(text)
    assert measured.left >= 0
    assert measured.units <= measured.segments * (160 if measured.is_gsm else 70)


def test_a_reply_counts_only_as_the_word_alone() -> None:
    assert [wanted(reply) for reply in ("stop", " STOP\n", "Unstop", "stop it", "")] == [
        *(False, False, True),
        *(None, None),
    ]
