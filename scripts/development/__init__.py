"""What developers measure, fit and document with; no command of nunbit uses it.

Scripts beside this folder import it as ``development``; tests and benchmarks put ``scripts`` on
their path.
"""
