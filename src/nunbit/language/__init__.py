"""Language: labels, prompts, tokens, negation and wishes in Korean."""
