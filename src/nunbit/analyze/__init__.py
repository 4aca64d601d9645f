"""The story of ``nunbit analyze``: any video to face, voice and words on one clock."""
