"""Reading a recording: frames, faces over time, voice, words, and how they fit together."""
