"""Run an exported net on a picture with onnxruntime, Pillow and numpy alone: dlc need not be installed.

python docs/run_with_onnxruntime.py demo/lenet.onnx demo/seven.png
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

if len(sys.argv) != 3:
    print("usage: python run_with_onnxruntime.py MODEL.onnx PICTURE", file=sys.stderr)
    sys.exit(2)
for file in sys.argv[1:]:
    if not Path(file).is_file():
        sys.exit(f"there is no file {file}")
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
image = np.asarray(Image.open(sys.argv[2]).convert("L"))[None, None]  # u8[1, 1, 28, 28]
(logits,) = session.run(None, {"image": image})
chances = np.exp(logits[0] - logits[0].max())
chances /= chances.sum()
print(f"it is a {chances.argmax()} (chance {chances.max():.4f})")
