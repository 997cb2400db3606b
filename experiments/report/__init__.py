"""The report: tables, figures and numbers in prose, from the files under ``experiments/results``.

``sources`` reads the result files, ``tables`` and ``figures`` show them, ``prose`` checks what the
text between them says, and ``documents`` puts all of it where it belongs.
"""
