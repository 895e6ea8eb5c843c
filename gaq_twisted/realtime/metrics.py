"""The metrics of the realtime protocol."""

from gaq_twisted.core.metrics import Kind, Metric
from gaq_twisted.realtime.envelope import InvalidReason
