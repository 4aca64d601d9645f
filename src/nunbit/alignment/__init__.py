"""Windows of face, voice and words brought into one space, and the tests that it is no identity.

Pure: arrays in, arrays and numbers out; knows no file, no model and no page. What a window is made
of is in ``vectors``, the table of all windows in ``table``, the linear heads in ``heads`` and
``cca``; ``retrieval``, ``identity`` and ``assess`` decide whether anything was learned.

N windows, D the size of a modality's vector, E the size of the shared space.
"""

from nunbit.alignment.assess import Assessment, assess, choose_folds, erasing
from nunbit.alignment.cca import CcaSettings, fit_cca
from nunbit.alignment.heads import Head, Heads
from nunbit.alignment.identity import identity_probe
from nunbit.alignment.retrieval import Ranks, RetrievalSettings, ranks_of, recall_summary
from nunbit.alignment.table import (
    MODALITIES,
    PAIRS,
    WindowTable,
    centred,
    detrended,
    independent_windows,
)
from nunbit.alignment.talking import NUISANCES
from nunbit.alignment.vectors import (
    PROSODY,
    face_vectors,
    prosody_vectors,
    text_vectors,
)
from nunbit.alignment.verdict import NO_VERDICT, sentence

__all__ = [
    "MODALITIES",
    "NO_VERDICT",
    "NUISANCES",
    "PAIRS",
    "PROSODY",
    "Assessment",
    "CcaSettings",
    "Head",
    "Heads",
    "Ranks",
    "RetrievalSettings",
    "WindowTable",
    "assess",
    "centred",
    "choose_folds",
    "detrended",
    "erasing",
    "face_vectors",
    "fit_cca",
    "identity_probe",
    "independent_windows",
    "prosody_vectors",
    "ranks_of",
    "recall_summary",
    "sentence",
    "text_vectors",
]
