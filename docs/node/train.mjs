// Trains logistic regression on the breast masses from the files that `dlc compile` wrote; dlc need not be installed.
// Usage: node train.mjs FOLDER breast_cancer.csv [STEPS]
import { existsSync, readFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { manifest } from "./manifest.mjs";

const [folder, csv, count = "300"] = process.argv.slice(2);
if (csv === undefined || !Number.isInteger(Number(count))) {
  console.error("usage: node train.mjs FOLDER breast_cancer.csv [STEPS]");
  process.exit(2);
}
const path = (name) => `${folder}/${name}.onnx`;
const read = ["cancer.prepare", "logistic.init", "logistic.step", "logistic"].map(path);
const missing = [csv, ...read].find((file) => !existsSync(file));
if (missing !== undefined) {
  console.error(`there is no file ${missing}`);
  process.exit(1);
}
const open = (name) =>
  InferenceSession.create(path(name), { executionProviders: ["cpu"], intraOpNumThreads: 1, logSeverityLevel: 3 });
const floats = (values, ...shape) => new Tensor("float32", Float32Array.from(values), shape);
const integer = (value) => new Tensor("int64", BigInt64Array.of(BigInt(value)), []);
const pick = (values, names) => Object.fromEntries(names.map((name) => [name, values[name]]));

// Records: thirty measurements a line and 0 (malignant) or 1 (benign), below one line of counts. A fifth is held out.
const lines = readFileSync(csv, "utf8").trim().split("\n").slice(1);
const records = lines.map((line) => line.split(",").map(Number));
const [train, test] = [records.filter((_, i) => i % 5 !== 0), records.filter((_, i) => i % 5 === 0)];

// `prepare` maps one record to the fields of an example. Its constants are fitted on the training records alone.
const prepare = await open("cancer.prepare");
const width = records[0].length - 1;
const mean = Array.from({ length: width }, (_, k) => train.reduce((sum, r) => sum + Math.fround(r[k]), 0) / train.length);
const std = mean.map((m, k) => Math.sqrt(train.reduce((sum, r) => sum + (Math.fround(r[k]) - m) ** 2, 0) / train.length));
const fitted = { "cancer.features.mean": floats(mean, width), "cancer.features.std": floats(std, width) };
const example = (record) =>
  prepare.run({ ...fitted, "raw.features": floats(record.slice(0, width), width), "raw.label": integer(record[width]) });
const prepared = async (rows) => {
  const examples = [];
  for (const record of rows) examples.push(await example(record));
  return examples;
};
const batch = (examples, names) =>
  Object.fromEntries(
    names.map((name) => {
      const { dims } = examples[0][name];
      return [name, floats(examples.flatMap((each) => [...each[name].data]), examples.length, ...dims)];
    }),
  );

// `init` makes what is carried from step to step; the manifest says which output of `step` feeds which of its inputs.
const { carried, batch: fields, reports, x_settings: settings } = manifest(path("logistic.step"));
const [init, step, net] = await Promise.all(["logistic.init", "logistic.step", "logistic"].map(open));
let state = await init.run({ seed: integer(0) });
const examples = await prepared(train);
for (let i = 0; i < Number(count); i++) {
  const rows = Array.from({ length: settings.batch }, (_, k) => examples[(i * settings.batch + k) % examples.length]);
  const results = await step.run({ ...pick(state, Object.keys(carried)), ...batch(rows, Object.keys(fields)) });
  if (!results.finite.data[0]) throw new Error(`step ${i}: the loss or a gradient is not finite`);
  const next = Object.entries(carried).filter(([, { output }]) => output !== null);
  state = { ...state, ...Object.fromEntries(next.map(([name, { output }]) => [name, results[output]])) };
  console.log(i, ...reports.map((name) => `${name} ${results[name].data[0].toFixed(6)}`));
}

// The net alone takes the same weights as inputs.
const held = batch(await prepared(test), ["features", "benign"]);
const { chance } = await net.run({ ...pick(state, ["logistic.w", "logistic.b"]), features: held.features });
const right = test.filter((_, i) => chance.data[i] > 0.5 === held.benign.data[i] > 0.5).length;
console.log(`held out: ${right} of ${test.length} right, accuracy ${(right / test.length).toFixed(4)}`);
