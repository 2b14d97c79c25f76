"""The hash chain of the audit log."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from user_billing.audit import chain
from user_billing.model import AuditEvent

ORG = UUID(int=7)
details = st.dictionaries(
    st.text(max_size=8),
    st.none() | st.integers() | st.text(max_size=8) | st.lists(st.text(max_size=4)),
)


@st.composite
def chains(draw):
    previous, events = chain.GENESIS, []
    for seq in range(1, draw(st.integers(1, 6)) + 1):
        event = chain.seal(
            AuditEvent(
                ORG, seq, datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=seq), "user:a",
                draw(st.sampled_from(["key.created", "member.removed"])), "key:b", draw(details),
                draw(st.none() | st.text(max_size=5)), previous, b"",
            )
        )  # fmt: skip
        previous = event.hash
        events.append(event)
    return events


@given(events=chains())
def test_an_untouched_chain_is_whole(events):
    """What was written in order proves itself."""
    assert chain.first_break(events) is None


@given(events=chains(), data=st.data())
def test_a_changed_event_breaks_the_chain_where_it_is(events, data):
    """Changing any one fact of one event is noticed at that event."""
    at = data.draw(st.integers(0, len(events) - 1))
    old = events[at]
    change = data.draw(
        st.sampled_from(
            [
                {"actor": "user:mallory"},
                {"action": "nothing"},
                {"target": "key:c"},
                {"at": old.at + timedelta(microseconds=1)},
                {"organisation_id": UUID(int=8)},
                {"request_id": "other-one"},
                {"detail": {**old.detail, "more": 1}},
            ]
        )
    )
    events[at] = replace(old, **change)
    assert chain.first_break(events) == at + 1


@given(events=chains(), data=st.data())
def test_a_missing_event_breaks_the_chain(events, data):
    """Removing an event anywhere but at the end is noticed where it was."""
    at = data.draw(st.integers(0, len(events) - 1))
    broken = chain.first_break(events[:at] + events[at + 1 :])
    assert broken == (None if at == len(events) - 1 else at + 1)
