"""Labelled photo collections: their sources, the prepared data set, label policies, splits."""
