"""Learn the alignment of face, voice and words from recordings, and judge it."""
