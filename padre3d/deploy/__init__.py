"""A trained detector outside of torch.

| step | file |
|---|---|
| the trained modules as a graph of tensors | graph.py |
| ONNX file, operators checked | onnx.py |
| torch against ONNX, by value | parity.py |
| export, compare, keep: model.onnx, tables.npz, manifest.json | export.py, tables.py |
"""
