"""nunbit: apparent emotion in face, voice and words."""
