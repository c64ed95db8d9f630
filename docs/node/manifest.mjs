// The manifest of a file that dlc wrote. onnxruntime-node does not give a model's metadata, so it is read from the file:
// an ONNX file is one protobuf message, `ModelProto`, whose field 14 repeats pairs of a key (1) and a value (2).
import { readFileSync } from "node:fs";

const METADATA = 14;

function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      value += (byte % 128) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const [number, wire] = [Math.floor(tag / 8), tag % 8];
    if (wire === 0) varint();
    else {
      const size = wire === 2 ? varint() : wire === 1 ? 8 : 4;
      yield [number, bytes.subarray(at, (at += size))];
    }
  }
}

export function manifest(file) {
  for (const [number, pair] of fields(readFileSync(file))) {
    if (number !== METADATA) continue;
    const { 1: key, 2: value } = Object.fromEntries([...fields(pair)].map(([n, bytes]) => [n, bytes.toString("utf8")]));
    if (key === "dlc.manifest") return JSON.parse(value);
  }
  throw new Error(`${file} has no dlc.manifest: is it a file that dlc compile wrote?`);
}
