"""Reading event files as TensorBoard does: what a later file begins with again is that one's."""

import struct
from collections import defaultdict

from tensorboardX.proto.event_pb2 import Event, SessionLog


def events_of(folder):
    """All events, in order."""
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            yield Event.FromString(content[at + 12 : at + 12 + length])
            at += 16 + length


def summaries_of(folder):
    """By tag, a list of steps and values."""
    found = defaultdict(list)
    for event in events_of(folder):
        if event.HasField("session_log") and event.session_log.status == SessionLog.START:
            for told in found.values():
                told[:] = [(step, value) for step, value in told if step < event.step]
        for value in event.summary.value:
            found[value.tag].append((event.step, value))
    return {tag: told for tag, told in found.items() if told}


def scalars_of(folder):
    """By tag, a value for each step, none twice."""
    found = {}
    for tag, told in summaries_of(folder).items():
        if told[0][1].HasField("simple_value"):
            assert len({step for step, _ in told}) == len(told), tag
            found[tag] = {step: value.simple_value for step, value in told}
    return found
