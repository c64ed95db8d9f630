"""Train from the files that `dlc compile` wrote, with onnxruntime and numpy alone: dlc need not be installed.

    dlc compile specs/logistic.net -o build
    python docs/train_with_onnxruntime.py build logistic fields.npz 300

`fields.npz` holds an array for each field of a batch, its first axis the examples: here `features` and `benign`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

if len(sys.argv) != 5 or not sys.argv[4].isdecimal():
    print("usage: python train_with_onnxruntime.py FOLDER RUN FIELDS.npz STEPS", file=sys.stderr)
    sys.exit(2)
folder, run, data, steps = *sys.argv[1:4], int(sys.argv[4])
for file in (f"{folder}/{run}.init.onnx", f"{folder}/{run}.step.onnx", data):
    if not Path(file).is_file():
        sys.exit(f"there is no file {file}")
init, step = (ort.InferenceSession(f"{folder}/{run}.{kind}.onnx", providers=["CPUExecutionProvider"])
              for kind in ("init", "step"))  # fmt: skip
manifest = json.loads(step.get_modelmeta().custom_metadata_map["dlc.manifest"])
fields = {name: array for name, array in np.load(data).items() if name in manifest["batch"]}
count, size = len(next(iter(fields.values()))), manifest["x_settings"].get("batch", 32)
scalars = {"seed": 0, "steps": steps, "steps_per_epoch": count // size}

first = {name: fields[name][:size] for name in manifest["init_batch"]}
made = init.run(None, {"seed": np.array(scalars["seed"]), **first})
carried = {each.name: value for each, value in zip(init.get_outputs(), made, strict=True)}
outputs = [each.name for each in step.get_outputs()]
random = np.random.default_rng(scalars["seed"])
for i in range(steps):
    rows = random.choice(count, size, replace=False)
    scalars |= {"step": i, "epoch": i // max(count // size, 1)}
    feeds = {name: carried[name] for name in manifest["carried"]}
    feeds |= {name: array[rows] for name, array in fields.items()}
    feeds |= {name: np.array(scalars[name]) for name in manifest["scalars"]}
    result = dict(zip(outputs, step.run(None, feeds), strict=True))
    if not result["finite"]:
        sys.exit(f"step {i}: the loss or a gradient is not finite")
    carried |= {name: result[each["output"]] for name, each in manifest["carried"].items() if each["output"]}
    print(i, *(f"{name} {result[name]:.6f}" for name in manifest["reports"]))
np.savez(f"{folder}/{run}.weights.npz", **carried)
