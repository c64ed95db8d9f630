"""Reading ONNX models of any opset from 7 on as graphs; `dlc.compiler.importer` is the way in."""
