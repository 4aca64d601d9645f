"""The models: a bundle as a folder, its encoders, and zero-shot classification by prompts."""
