"""One session in real time: camera frames and sound pushed in, events given out.

The streaming form of reading a recording: the same observer, on the same clock, so that a session
and its file agree. ``session`` joins the parts: ``clock`` puts frames on the clock of the sound,
``pictures`` reads faces, ``hearing`` the voice as it is heard, ``recorder`` writes what was
analysed. Knows no browser, no server and no report.
"""

from nunbit.live.events import Event, LiveSettings
from nunbit.live.live_session import LiveSession

__all__ = ["Event", "LiveSession", "LiveSettings"]
