"""One story a verb: what ``nunbit COMMAND`` and the function of the same name do.

A story reads, computes and writes by what lies below; no story imports another.
"""
