"""Items with deadlines."""

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.deadlines import Deadlines
from tests.support.properties import for_any


class DeadlinesTests(SynchronousTestCase):
    """Additions, removals and deadlines in any order."""

    @for_any(
        st.lists(
            st.tuples(
                st.sampled_from(("add", "discard", "look")), st.integers(0, 9), st.integers(0, 20)
            )
        )
    )
    def test_any_order(self, steps: list[tuple[str, int, int]]) -> None:
        """Items whose deadline has passed are popped once, unless they were removed."""
        deadlines: Deadlines[int] = Deadlines()
        expected: dict[int, int] = {}
        for what, thing, second in steps:
            if what == "add" and thing not in expected:
                deadlines.add(thing, second)
                expected[thing] = second
            elif what == "discard":
                deadlines.discard(thing, expected.pop(thing, second))
            elif what == "look":
                over: set[int | None] = {one for one, at in expected.items() if at <= second}
                for _ in range(len(over)):
                    popped = deadlines.pop(second + 0.5)
                    self.assertIn(popped, over)
                    over.discard(popped)
                self.assertIsNone(deadlines.pop(second + 0.5))
                expected = {one: at for one, at in expected.items() if at > second}
