"""When a journal under watch is worth a visit."""

from pathlib import Path

import pytest

from gradience.mirror.cursor import Delivery
from gradience.mirror.drain import Outcome
from gradience.mirror.fleet.errand import Answer, Busy, Done, Lost, Refused
from gradience.mirror.fleet.watched import BUSY_S, GRACE_S, PARKED_S, REST_S, Look, Watched
from gradience.mirror.pace import LONGEST_WAIT_S

FIRST, GROWN = Look(1, 100), Look(1, 200)


def done(state: Delivery = Delivery.UP_TO_DATE, sent: int = 5) -> Done:
    """An answer that counts."""
    return Done(Outcome(state=state, sent=sent, error=None if state is Delivery.UP_TO_DATE else "why"))


def visited(*answers: Answer, look: Look = FIRST) -> Watched:
    """A journal after visits at time 0."""
    watched = Watched(Path("run.jsonl"))
    for answer in answers:
        visit(watched, answer, look)
    return watched


def visit(watched: Watched, answer: Answer, look: Look = FIRST, now: float = 0.0) -> None:
    """Begin and end a visit in no time."""
    abandoned = watched.begin(now, look)
    watched.end(answer, now, looked_for_end=abandoned, chance=1.0)


def test_a_new_journal_is_visited_at_once_and_once() -> None:
    """Nobody knows yet what the tracker lacks of it."""
    watched = visited()
    assert watched.is_due(0, FIRST)
    watched.begin(0, FIRST)
    assert not watched.is_due(0, FIRST)


def test_what_is_delivered_is_left_alone_until_it_grows() -> None:
    """Or until another file takes its place; not more often than every few seconds."""
    watched = visited(done())
    assert [watched.is_due(1000, look) for look in (FIRST, GROWN, Look(2, 100))] == [False, True, True]
    assert not watched.is_due(REST_S - 1, GROWN)


def test_what_came_during_a_visit_is_delivered_by_the_next() -> None:
    """A visit vouches for the file as it was when it began."""
    watched = visited(done())
    assert watched.is_due(1000, GROWN)


def test_an_outage_is_tried_again_for_ever_and_ever_more_seldom() -> None:
    """Doubled pauses, up to a minute."""
    watched = visited(done(Delivery.UNAVAILABLE, sent=0))
    assert (watched.is_due(0.5, FIRST), watched.is_due(1, FIRST)) == (False, True)
    watched = visited(*[done(Delivery.UNAVAILABLE, sent=0)] * 100)
    assert (watched.is_due(LONGEST_WAIT_S - 1, FIRST), watched.is_due(LONGEST_WAIT_S, FIRST)) == (False, True)


def test_how_seldom_is_for_the_tracker_s_owner_to_say() -> None:
    """The bound of its entry in a list of sinks."""
    watched = Watched(Path("run.jsonl"), longest_wait_s=300.0)
    for _ in range(100):
        watched.begin(0.0, FIRST)
        watched.end(done(Delivery.UNAVAILABLE, sent=0), 0.0, looked_for_end=False, chance=1.0)
    assert (watched.is_due(299, FIRST), watched.is_due(300, FIRST)) == (False, True)


def test_a_tracker_that_answers_again_is_not_waited_for() -> None:
    """Another journal has found out."""
    watched = visited(*[Lost("ended")] * 10)
    watched.relieve(3)
    assert watched.is_due(3, FIRST)


@pytest.mark.parametrize("answer", [Refused("replaced"), done(Delivery.PARKED, sent=0)])
def test_what_only_a_person_can_mend_is_tried_seldom(answer: Answer) -> None:
    """It may have been mended since; meanwhile it is no outage."""
    watched = visited(answer)
    assert (watched.is_due(PARKED_S - 1, FIRST), watched.is_due(PARKED_S, FIRST)) == (False, True)
    assert watched.trouble in ("replaced", "why")


def test_a_side_car_is_left_to_work() -> None:
    """Who holds the cursor delivers."""
    watched = visited(Busy())
    assert (watched.is_due(BUSY_S - 1, FIRST), watched.is_due(BUSY_S, FIRST), watched.trouble) == (False, True, None)


def test_a_recorder_that_is_gone_is_looked_into_once_after_a_grace() -> None:
    """The visit that follows finds out whether its run was killed."""
    watched, left = visited(done()), Look(1, 100, left=True)
    assert not watched.is_due(100, left)
    assert watched.is_due(100 + GRACE_S, left)
    assert watched.begin(100 + GRACE_S, left)
    watched.end(done(sent=0), 200, looked_for_end=True, chance=1.0)
    assert not watched.is_due(1000, left)


def test_a_recorder_that_comes_back_ends_the_grace() -> None:
    """A trainer that was restarted goes on with its run."""
    watched = visited(done())
    assert not watched.is_due(100, Look(1, 100, left=True))
    assert not watched.is_due(105, FIRST)
    assert not watched.is_due(105 + GRACE_S, Look(1, 100, left=True))


def test_the_next_run_in_a_file_may_be_killed_too() -> None:
    """How the last run ended is asked again once there is more."""
    watched = visited(done())
    watched.is_settled = True
    assert watched.is_due(100, GROWN)
    assert not watched.is_settled


def test_visits_add_up() -> None:
    """The result is that of the service, not of its last visit."""
    watched = visited(done(Delivery.BEHIND), done())
    assert (watched.outcome.sent, watched.outcome.state, watched.trouble) == (10, Delivery.UP_TO_DATE, None)


def test_in_a_hurry_what_is_delivered_is_finished() -> None:
    """And what is stuck, or in other hands; the rest is due."""
    delivered, stuck, behind = visited(done()), visited(Refused("no")), visited(done(Delivery.UNAVAILABLE))
    for watched in (delivered, stuck, behind):
        watched.hurry(0, FIRST)
    assert [watched.is_finished for watched in (delivered, stuck, behind)] == [True, True, False]
    assert behind.is_due(0, FIRST)


def test_in_a_hurry_a_file_that_keeps_growing_is_finished_too() -> None:
    """One more visit that reaches the end, then no more."""
    watched = visited(done())
    watched.hurry(0, GROWN)
    assert watched.is_due(0, GROWN)
    visit(watched, done(), GROWN)
    assert watched.is_finished
    assert not watched.is_due(1000, Look(1, 300))


def test_in_a_hurry_a_visit_that_began_before_vouches_only_for_what_it_saw() -> None:
    """It may have been at the end of the file when the last lines came."""
    watched = visited(done())
    watched.begin(0, FIRST)
    watched.hurry(0, GROWN)
    watched.end(done(), 0, looked_for_end=False, chance=1.0)
    assert not watched.is_finished
    assert watched.is_due(100, GROWN)


def test_in_a_hurry_an_outage_is_tried_until_the_end() -> None:
    """Often: there is not much time."""
    watched = visited(*[done(Delivery.UNAVAILABLE)] * 100)
    watched.hurry(0, FIRST)
    visit(watched, done(Delivery.UNAVAILABLE))
    assert not watched.is_finished
    assert watched.is_due(2, FIRST)
