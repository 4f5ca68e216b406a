"""When an outage is a tracker's, and not a journal's."""

from gradience.mirror.fleet.outage import Outage


def test_several_journals_in_a_row_make_an_outage() -> None:
    """The same one, however often, does not."""
    outage = Outage(2)
    for _ in range(5):
        outage.failed("a", "refused")
    assert (outage.is_suspected, outage.is_on, outage.failures) == (True, False, 5)
    outage.failed("b", "refused")
    assert (outage.is_on, outage.why) == (True, "refused")


def test_an_answer_ends_it() -> None:
    """Whatever failed before."""
    outage = Outage(1)
    outage.failed("a", "refused")
    outage.answered()
    assert (outage.is_suspected, outage.is_on, outage.failures, outage.why) == (False, False, 0, None)
