"""The shared space: what face, voice and words of the same moment have in common."""
