"""Run an exported net on a picture with onnxruntime, Pillow and numpy alone: dlc need not be installed.

python docs/run_with_onnxruntime.py demo/lenet.onnx demo/seven.png
"""

import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
image = np.asarray(Image.open(sys.argv[2]).convert("L"))[None, None]  # u8[1, 1, 28, 28]
(logits,) = session.run(None, {"image": image})
chances = np.exp(logits[0] - logits[0].max())
chances /= chances.sum()
print(f"it is a {chances.argmax()} (chance {chances.max():.4f})")
