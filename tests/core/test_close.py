"""How sockets are closed."""

from twisted.trial.unittest import SynchronousTestCase

from gaq_twisted.core.close import (
    GOING_AWAY,
    INTERNAL_ERROR,
    TOKEN_EXPIRED,
    TOO_MANY_BYTES,
    close_label,
    message_too_big,
    try_again_later,
)

# RFC 6455 section 5.5: a control frame holds 125 bytes, of which the code takes 2.
MAX_REASON_BYTES = 123


class CloseTests(SynchronousTestCase):
    """Codes and texts, which clients and the documentation know."""

    def test_values(self) -> None:
        """Each kind of close has its code and text."""
        for close, code, reason in (
            (GOING_AWAY, 1001, "the server is stopping"),
            (TOKEN_EXPIRED, 1008, "token expired"),
            (TOO_MANY_BYTES, 1008, "too many bytes per second"),
            (INTERNAL_ERROR, 1011, "internal error"),
            (message_too_big(4096), 1009, "message larger than 4096 bytes"),
            (try_again_later("there is no room"), 1013, "there is no room"),
        ):
            self.assertEqual(close, (code, reason))
            self.assertEqual(f"{close.code}", str(code))

    def test_reasons_fit(self) -> None:
        """A reason fits into a close frame, with the largest limit too."""
        for close in (GOING_AWAY, TOO_MANY_BYTES, message_too_big(2**40)):
            self.assertLessEqual(len(close.reason.encode()), MAX_REASON_BYTES)

    def test_labels(self) -> None:
        """Each code of the standard has its label; clients cannot add further labels."""
        for code, label in (
            (1000, "1000"),
            (1006, "1006"),
            (1015, "1015"),
            (GOING_AWAY.code, "1001"),
            (999, "other"),
            (1016, "other"),
            (4999, "other"),
            (None, "other"),
        ):
            self.assertEqual(close_label(code), label)
