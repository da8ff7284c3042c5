// Runs a classifier with ONNX Runtime beside the page, which stays smooth. Two kinds of messages:
// {open: {model, familiar, device, threads}} is answered with {ready}, {picture: {data, width, height}} with {answer};
// either with {error} instead.
import * as ort from "../vendor/ort.wasm.bundle.min.mjs";
import { decide } from "./deciding.js";
import { square } from "./resize.js";

ort.env.wasm.wasmPaths = { wasm: new URL("../vendor/ort-wasm-simd-threaded.wasm", import.meta.url).href };

const PATIENCE = 30_000; // milliseconds
let session, device, known;

async function open({ model, familiar, device: described, threads }) {
  device = described;
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.initTimeout = threads > 1 ? PATIENCE : 0; // threads that never start would be waited for
  const fetched = async (address) => {
    const response = await fetch(address);
    if (!response.ok) throw new Error((await response.json()).detail);
    return response.arrayBuffer();
  };
  if (device.familiar) known = { ...device.familiar, data: new Float32Array(await fetched(familiar)) };
  session = await ort.InferenceSession.create(new Uint8Array(await fetched(model)), {
    executionProviders: ["wasm"],
    // Threads that spin while they wait take the time of whatever draws the page, and the battery.
    extra: { session: { intra_op: { allow_spinning: "0" } } },
  });
  return { ready: { threads } };
}

async function answer({ data, width, height }) {
  const pixels = square(new Uint8Array(data), width, height, device.side);
  const images = new ort.Tensor("uint8", pixels, [1, device.side, device.side, 3]);
  const found = await session.run({ images }, known ? ["probabilities", "features"] : ["probabilities"]);
  const probabilities = Array.from(found.probabilities.data);
  const outputs = device.labels
    .map((label, place) => ({ label, conf: Math.min(Math.max(probabilities[place], 0), 1) }))
    .sort((one, other) => other.conf - one.conf);
  const decision = decide(probabilities, found.features?.data, device, known);
  return { answer: { outputs, decision, width, height } };
}

self.onmessage = async ({ data: message }) => {
  try {
    self.postMessage(message.open ? await open(message.open) : await answer(message.picture));
  } catch (error) {
    self.postMessage({ error: String(error.message ?? error) });
  }
};
