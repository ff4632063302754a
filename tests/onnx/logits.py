"""Prints what ONNX Runtime makes of a model: python logits.py MODEL.onnx PICTURES HEIGHT WIDTH CHANNELS

PICTURES holds bytes, [n][height][width][channels]. Standard output gets one JSON object: the logits of all of them in one
batch, of each alone, and the metadata of the model.
"""
import json
import sys

import numpy as np
import onnxruntime

model, pictures, *shape = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
images = np.fromfile(pictures, np.uint8).reshape(-1, *map(int, shape))
x = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
name = session.get_inputs()[0].name
batch = session.run(None, {name: x})[0]
single = np.concatenate([session.run(None, {name: x[i:i + 1]})[0] for i in range(len(x))])
metadata = session.get_modelmeta().custom_metadata_map
print(json.dumps(dict(batch=batch.tolist(), single=single.tolist(), metadata=metadata)))
