"""The story of ``nunbit predict``: photos in, faces with probabilities out.

``story`` runs it, ``texts`` turns prompts and sentences into vectors, ``result`` holds and prints
what came out, ``shipped`` finds the bundle that comes with the package.
"""

from nunbit.predict.result import FaceAnswer, FileAnswer, PredictResult
from nunbit.predict.settings import PredictSettings
from nunbit.predict.shipped import ShippedBundle, default_bundle_path, shipped_bundles
from nunbit.predict.story import predict

__all__ = [
    "FaceAnswer",
    "FileAnswer",
    "PredictResult",
    "PredictSettings",
    "ShippedBundle",
    "default_bundle_path",
    "predict",
    "shipped_bundles",
]
