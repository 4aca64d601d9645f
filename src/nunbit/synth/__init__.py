"""Synthetic data with known truth: drawn faces, photos of them, and an AI Hub tree."""
